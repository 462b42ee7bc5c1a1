// Finds what must not be in a log by its form: keys, tokens, e-mail addresses, card numbers, IBANs, private keys,
// passwords in URLs. A line without any of it costs one look by the searches of mayBeSensitive.
import { hideCards, hideIbans, isCardNumber } from "./payment-numbers.ts";

/** What stands where something was hidden. */
export const redacted = "[redacted]";

// What every sensitive text has one of, in a line of JSON, too: nothing of it is ever escaped. They are written so that
// the engine can skip ahead: a few characters of which most do not fit. Together they take less than a microsecond for a
// line of 450 characters; one alternation of everything that is looked for took three times that.
const signs = /[@=%+\u00a0\u2009-\u2014\u202f\uff20]/;
const digits = /\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d/;
const ibanStart = /(?<![A-Za-z\d])[A-Za-z][A-Za-z]\d\d[ A-Za-z\d-][ A-Za-z\d-][A-Za-z\d]/;
/** `sk-`, `glpat-`, `pypi-`, `xai-`, `pplx-`; `sk_live_`, `ghp_`, `github_pat_`, `hf_`, `npm_`, `whsec_`. */
const keyStart = /[ktpix]-[\w-]{2}|[ksroptecfmuh]_[A-Za-z\d]{2}/;
const keyLetters = /A[KSBCRI][IRCOD]A[A-Z\d]|AIza|IQoJ|FwoG|GOCSP|ya29|SG\.[\w-]|eyJ|xox|BEGIN/;
/** The ends of bearer, basic, authorization, password, passphrase, passwd, pwd, secret, token and key. */
const words =
  /(?:[Rr][Ee][Rr]|[Ss][Ii][Cc]|[Ii][Oo][Nn]|[Oo][Rr][Dd]|[Aa][Ss][Ee]|[PpSs][Ww][Dd]|[Rr][Ee][Tt]|[Kk][Ee][Yy]|[Kk][Ee][Nn])[\s\\':]/;

/** Whether it is worth to look closer; a false yes costs time only. */
function mayBeSensitive(text: string): boolean {
  return (
    signs.test(text) ||
    digits.test(text) ||
    keyStart.test(text) ||
    keyLetters.test(text) ||
    words.test(text) ||
    ibanStart.test(text) ||
    text.includes("hooks") ||
    text.includes("\\u00")
  );
}

/** Hides what is sensitive by its form in a text. */
export function redactText(text: string): string {
  // A quotation mark is escaped in a line, and only there is it told from those of the line itself.
  return mayBeSensitive(text) || text.includes('"') ? hide(text) : text;
}

/** Whether a text has something in it that redactText hides. */
export function isSensitive(text: string): boolean {
  return redactText(text) !== text;
}

// Ids of traces are random: some look like a card number.
const idFields: ReadonlySet<string> = new Set(['"traceId"', '"spanId"']);
const idPattern = /^"[\da-f]{16}(?:[\da-f]{16})?"$/;
const mostCardDigits = 19;

/** Hides what is sensitive in a line of JSON, in names, texts and numbers; it stays JSON. */
export function redactLine(line: string): string {
  if (!mayBeSensitive(line)) return line;
  let result = "";
  let done = 0;
  let name = "";
  for (let open = line.indexOf('"'); open !== -1; open = line.indexOf('"', done)) {
    const gap = line.slice(done, open);
    result += hideNumbers(gap);
    const end = endOfText(line, open);
    const token = line.slice(open, end);
    const isName = line.charCodeAt(end) === 58;
    result += !isName && idFields.has(name) && idPattern.test(token) ? token : redactToken(token);
    name = isName ? token : "";
    done = end;
  }
  return result + hideNumbers(line.slice(done));
}

/** The index behind the quotation mark that ends the text. */
function endOfText(line: string, open: number): number {
  for (let close = line.indexOf('"', open + 1); close !== -1; close = line.indexOf('"', close + 1)) {
    let backslashes = 0;
    while (line.charCodeAt(close - 1 - backslashes) === 92) backslashes += 1;
    if (backslashes % 2 === 0) return close + 1;
  }
  return line.length;
}

function redactToken(token: string): string {
  if (!mayBeSensitive(token)) return token;
  const text = token.includes("\\") ? (JSON.parse(token) as string) : token.slice(1, -1);
  const shown = hide(text);
  return shown === text ? token : JSON.stringify(shown);
}

/** What is between texts has numbers; one that is a card becomes a text. */
function hideNumbers(gap: string): string {
  if (gap.length < 13) return gap;
  return gap.replace(/(?<![\d.eE+-])\d{13,}(?![\d.eE])/g, (number) =>
    number.length <= mostCardDigits && isCardNumber(number) ? JSON.stringify(redacted) : number,
  );
}

// Each pattern is linear: it begins where no character of its own class stands before it, or has bounds.
const keyPatterns: readonly RegExp[] = [
  // OpenAI's, Anthropic's, ours, and those of who does as they do; Stripe's; Groq's; webhooks'.
  /(?<![A-Za-z\d])(?:g?sk-|[srp]k_(?:live|test)_|gsk_|whsec_|nvapi-|pplx-|xai-)[\w-]{16,}/g,
  // Access key ids of AWS, with the secret where it stands beside, and its session tokens.
  /(?<![A-Za-z\d])A(?:KIA|SIA|BIA|CCA|ROA|IDA)[A-Z\d]{12,}(?:[^A-Za-z\d]{1,8}?[A-Za-z\d/+]{40}(?![A-Za-z\d/+]))?/g,
  /(?<![A-Za-z\d])(?:IQoJ|FwoG)[A-Za-z\d/+=]{40,}/g,
  // Google: API keys, access tokens, client secrets.
  /(?<![A-Za-z\d])(?:AIza[\w-]{30,}|ya29\.[\w-]{16,}|GOCSPX-[\w-]{16,})/g,
  // GitHub, GitLab, Slack, Hugging Face, npm, PyPI.
  /(?<![A-Za-z\d])(?:gh[a-z]_[A-Za-z\d]{16,}|github_pat_\w{16,}|gl[a-z]{2,5}-[\w-]{16,})/g,
  /(?<![A-Za-z\d])(?:xox[a-z](?:\.xox[a-z])?|xapp)-[A-Za-z\d-]{10,}/g,
  /(?<![A-Za-z\d])(?:hf_[A-Za-z\d]{20,}|npm_[A-Za-z\d]{20,}|pypi-[\w-]{16,})/g,
  // SendGrid.
  /(?<![A-Za-z\d])SG\.[\w-]{16,128}\.[\w-]{16,}/g,
  // A JSON Web Token begins with an object in base64url (RFC 7519); so does other JSON in base64.
  /(?<![A-Za-z\d])eyJ[\w-]{12,}(?:\.[\w-]*){0,4}/g,
];

// Slack's and Discord's: whoever has the address may write.
const webhookPattern =
  /(hooks\.slack\.com\/(?:services|workflows|triggers)\/|discord(?:app)?\.com\/api\/webhooks\/)[\w/-]{8,}/gi;

// A word of prose may follow ("Bearer authentication failed"): letters only, small ones after the first.
const schemePattern =
  /(?<![A-Za-z\d])([Bb][Ee][Aa][Rr][Ee][Rr]|[Bb][Aa][Ss][Ii][Cc])(\s{1,4}|%20)(?![A-Za-z]?[a-z]{0,14}(?:[^\w.~+/=-]|[.]?$|[.]\s))[\w.~+/-]{6,}={0,2}/g;
// Of a scheme that is not known nothing is shown: it may be the secret itself. One word of prose may stand there.
const authorizationPattern =
  /(authorization["']{0,2}\s{0,3}[:=][\s"'`([{<]{0,6})(?:((?:bearer|basic|token|apikey|digest|negotiate)\s{1,4})|(?![a-z]{0,15}(?:[.,;:!?"')]|$))(?:[a-z][a-z-]{1,31} {1,4})?)(?!\[redacted\])[^\s"',;]{3,}/gi;
const cookiePattern = /(cookie["']{0,2}\s{0,3}:\s{0,3}["']{0,2})[\w.-]{1,64}=[^\r\n"']+/gi;

const secretName =
  "(?:pass(?:word|wd|phrase)|pwd|secret|token|(?:api|access|account|secret|private|auth|encryption)[_-]?key|(?<![a-z])sig|signature|credentials?)";
const assignedPattern = new RegExp(`(${secretName}=["']?)(?!\\[redacted\\])[^\\s"'&,;)\\]}]{3,}`, "gi");
const quotedPattern = new RegExp(
  `(${secretName}["']?\\s{0,3}[:=]\\s{0,3})(?:(")(?!\\[redacted\\])(?:[^"\\\\\\r\\n]|\\\\.)+|(')(?!\\[redacted\\])(?:[^'\\\\\\r\\n]|\\\\.)+)`,
  "gi",
);
// "password: must be longer" is prose; what has a digit or a sign in it is none.
const toldPattern = new RegExp(
  `(${secretName}\\s{0,3}[:=]\\s{0,3})(?!\\[redacted\\])(?=[a-z]{0,64}[^\\sa-z"',;:)\\]}])[^\\s"',;]{4,}`,
  "gi",
);

// Texts within texts of JSON: so deep they are looked into.
const mostEscapes = 4;

function hide(text: string, escapes = 0): string {
  // Writers of JSON for the web escape signs that need it not, as + and =.
  const plain = text.includes("\\u00") ? text.replace(escapedSignPattern, toCharacter) : text;
  let shown = hideHere(plain);
  if (escapes < mostEscapes && shown.includes("\\")) {
    const within = shown.replace(escapePattern, toCharacter);
    const hidden = within === shown ? within : hide(within, escapes + 1);
    if (hidden !== within) shown = hidden;
  }
  return shown === plain ? text : shown;
}

function hideHere(text: string): string {
  let shown = text;
  if (shown.includes("--BEGIN")) shown = hidePrivateKeys(shown);
  if (shown.includes("%") || shown.includes("+")) shown = shown.replace(encodedPattern, hideEncoded);
  if (shown.includes("@") || shown.includes("\uff20")) shown = hideEmails(hideUserInfo(shown));
  shown = shown.replace(webhookPattern, `$1${redacted}`);
  shown = shown.replace(cookiePattern, `$1${redacted}`);
  shown = shown.replace(authorizationPattern, `$1$2${redacted}`);
  shown = shown.replace(schemePattern, `$1$2${redacted}`);
  for (const pattern of keyPatterns) shown = shown.replace(pattern, redacted);
  shown = shown.replace(quotedPattern, `$1$2$3${redacted}`);
  shown = shown.replace(assignedPattern, `$1${redacted}`);
  shown = shown.replace(toldPattern, `$1${redacted}`);
  return hideCards(hideIbans(shown, redacted), redacted);
}

// RFC 8259, section 7; the first without what begins an escape or ends a text.
const escapedSignPattern = /(?<!\\)\\+u(00(?!22|27|5c)[2-7][\da-f])/gi;
const escapePattern = /\\(?:u([\da-fA-F]{4})|(["'\\/bfnrt]))/g;
const escapedCharacters: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

function toCharacter(_: string, code: string | undefined, letter: unknown): string {
  if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16));
  return escapedCharacters[letter as string] ?? (letter as string);
}

// A part of a URL or of a form: https://url.spec.whatwg.org/#application/x-www-form-urlencoded
const encodedPattern = /(?<![^\s"<>()&=?#/,;])[^\s"<>()&=?#/,;%+]*(?:%[\dA-Fa-f]{2}|\+)[^\s"<>()&=?#/,;]*/g;

/** As a whole: where in it the sensitive part is cannot be said by its place. */
function hideEncoded(encoded: string): string {
  try {
    const decoded = decodeURIComponent(encoded.replaceAll("+", " "));
    return decoded !== encoded && isSensitive(decoded) ? redacted : encoded;
  } catch {
    // No UTF-8: nothing that was encoded.
    return encoded;
  }
}

const beginPattern = /-----BEGIN [A-Z\d ]{0,32}PRIVATE KEY(?: BLOCK)?-----/g;

/** The whole block, or what is there of it (RFC 7468). */
function hidePrivateKeys(text: string): string {
  let result = "";
  let done = 0;
  beginPattern.lastIndex = 0;
  for (let begin = beginPattern.exec(text); begin !== null; begin = beginPattern.exec(text)) {
    const endMark = text.indexOf("-----END ", beginPattern.lastIndex);
    const close = endMark === -1 ? -1 : text.indexOf("-----", endMark + 9);
    result += text.slice(done, begin.index) + redacted;
    done = close === -1 ? text.length : close + 5;
    beginPattern.lastIndex = done;
  }
  return result + text.slice(done);
}

// Passwords with a slash or an at sign in them break the form of a URL, but are written so.
const userInfoPattern = /:\/\/[^\s/?#"'<>\\]{1,512}@/g;
const looseUserInfoPattern =
  /:\/\/(?![^\s:@/]{0,256}:\d{1,5}(?:[/?#]|$))(?!\[)[^\s/?#@:"'<>]{0,128}:[^\s"'<>]{1,512}@/g;

// Where a name alone is no secret, and says to an operator as whom it was tried.
const userOnlyPattern = /^:\/\/[A-Za-z_][\w-]{0,31}@$/;
const userSchemePattern = /(?<![a-z])(?:postgres|postgresql|mysql|ssh|sftp)$/i;
const mostSchemeCharacters = 11;

function hideUserInfo(text: string): string {
  if (!text.includes("://")) return text;
  const shown = `://${redacted}@`;
  return text
    .replace(looseUserInfoPattern, shown)
    .replace(userInfoPattern, (found, at: number, whole: string) =>
      userOnlyPattern.test(found) &&
      userSchemePattern.test(whole.slice(Math.max(0, at - mostSchemeCharacters), at))
        ? found
        : shown,
    );
}

// That of full width is typed with other scripts.
const atPattern = /[@\uff20]/g;
const localCharacter = /[\p{L}\p{M}\p{N}._%+'!#$*^~-]/u;
const domainPattern = /[\p{L}\p{M}\p{N}.-]{1,255}/uy;
// Digits and letters of a script without spaces may follow a domain, so that its last label has no sure end.
const namedLabel = /\.\p{L}[\p{L}\p{M}]/u;
/** Of a package: name@1.2.3-beta.rc1 */
const versionStart = /^v?\d+\.\d+\.\d/;

/** Each character is looked at once from each of the two at signs that it stands between. */
function hideEmails(text: string): string {
  let result = "";
  let done = 0;
  atPattern.lastIndex = 0;
  for (let at = atPattern.exec(text); at !== null; at = atPattern.exec(text)) {
    domainPattern.lastIndex = atPattern.lastIndex;
    const domain = domainPattern.exec(text)?.[0].replace(/[.-]{1,255}$/, "") ?? "";
    if (!namedLabel.test(domain) || versionStart.test(domain)) continue;
    const start = startOfLocalPart(text, done, at.index);
    // What hideUserInfo has left in a URL is no address.
    if (start === at.index || text.startsWith("://", start - 3)) continue;
    result += text.slice(done, start) + redacted;
    done = atPattern.lastIndex + domain.length;
    atPattern.lastIndex = done;
  }
  return result + text.slice(done);
}

function startOfLocalPart(text: string, from: number, at: number): number {
  // "Ada Lovelace"@example.org
  if (text[at - 1] === '"') {
    const quote = text.lastIndexOf('"', at - 2);
    return quote >= from && at - quote <= 66 ? quote : at;
  }
  let start = at;
  while (start > from && localCharacter.test(text[start - 1] as string)) start -= 1;
  while (start < at && "'.".includes(text[start] as string)) start += 1;
  return start;
}
