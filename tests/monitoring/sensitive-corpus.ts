// Secrets and personal data for tests that look for them where they may not be: each is made anew for a run, so that
// what is found is certain to come from it, and is looked for in every form that it may have taken on its way.
import { generateKeyPairSync, randomBytes, randomInt } from "node:crypto";
import { createApiKey } from "@ectus/core";

export interface Sensitive {
  /** What kind of thing it is. */
  readonly name: string;
  readonly text: string;
  /** What else may not be seen of it. */
  readonly parts: readonly string[];
  /** Whether its form tells what it is, wherever it stands. Of the others nothing may be written in the first place. */
  readonly isRecognizable: boolean;
}

export interface Leak {
  readonly name: string;
  readonly form: string;
  /** What stands around it, the thing itself left out. */
  readonly context: string;
}

const word = (length: number): string => randomText(length, "abcdefghijklmnopqrstuvwxyz");
const alphanumeric = (length: number): string =>
  randomText(length, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
const digits = (length: number): string => randomText(length, "0123456789");
const base64url = (bytes: number): string => randomBytes(bytes).toString("base64url");

function randomText(length: number, alphabet: string): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join("");
}

/** What has a form of its own. */
export function recognizable(name: string, text: string, parts: readonly string[] = []): Sensitive {
  return { name, text, parts, isRecognizable: true };
}

/** What could be any text. */
function anyText(name: string, text: string, parts: readonly string[] = []): Sensitive {
  return { name, text, parts, isRecognizable: false };
}

/** Makes a corpus: every kind of secret and of personal datum that a request may bring. */
export function createCorpus(): Sensitive[] {
  const [password, opaque, basicPassword] = [alphanumeric(18), alphanumeric(40), alphanumeric(18)];
  const basic = Buffer.from(`${word(8)}:${basicPassword}`).toString("base64");
  const emails = [`${word(9)}@${word(8)}.com`, `Zoe.${word(8)}+tag@mail.${word(8)}.co.uk`];
  const [visa, spaced, dashed] = [cardNumber("4", 16), cardNumber("51", 16), cardNumber("4", 16)];
  const amex = cardNumber("37", 15);
  const iban = germanIban();
  const pem = generateKeyPairSync("ec", { namedCurve: "P-256" })
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString()
    .trim();
  const jwt = [
    { alg: "HS256", typ: "JWT" },
    { sub: emails[0], name: word(12) },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .concat(base64url(32))
    .join(".");
  return [
    recognizable("a key of the platform's form", createApiKey()),
    recognizable("a key of OpenAI's", `sk-proj-${alphanumeric(48)}`),
    recognizable("a key of Anthropic's", `sk-ant-api03-${base64url(60)}`),
    recognizable("a key of GitHub's", `ghp_${alphanumeric(36)}`),
    recognizable("a key of AWS's", `AKIA${randomText(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")}`),
    recognizable("a key of Google's", `AIza${alphanumeric(35)}`),
    recognizable("a key of Slack's", `xoxb-${digits(12)}-${alphanumeric(24)}`),
    recognizable("a key of Stripe's", `sk_live_${alphanumeric(24)}`),
    recognizable("a bearer token", `Bearer ${opaque}`, [opaque]),
    recognizable("basic credentials", `Basic ${basic}`, [basic, basicPassword]),
    ...emails.map((email, index) => recognizable(`e-mail address ${index + 1}`, email)),
    recognizable("a card number", visa),
    recognizable("a card number with spaces", groups(spaced, " "), [spaced]),
    recognizable("a card number with dashes", groups(dashed, "-"), [dashed]),
    recognizable("a card number of 15 digits", amex),
    recognizable("an IBAN", iban),
    recognizable("an IBAN with spaces", groups(germanIban(), " ")),
    recognizable("a JWT", jwt, jwt.split(".").slice(1)),
    // The first line begins as that of any key of this kind.
    recognizable("a private key", pem, pem.split("\n").slice(2, -1)),
    recognizable("a database URL", `postgres://ectus:${password}@db.internal:5432/ectus`, [password]),
    recognizable("a URL with a password", `https://${word(6)}:${basicPassword}@example.com/x?y=1`, [
      basicPassword,
    ]),
    anyText("a personal name", `Zoë ${capitalized(word(10))} Ångström`),
    anyText("a second personal name", `${capitalized(word(9))} ${capitalized(word(11))}`),
    anyText("a prompt", `Tell me about the ${word(8)} of my ${word(10)} and "quote" it, please\nnow`),
    anyText("a completion", `Certainly: the ${word(9)} is ${word(12)} <b>&amp;</b> \\ done`),
    anyText("contents of a file", `diagnosis,${word(12)}\n${word(12)},positive`),
    anyText("a file's name", `salary of ${word(11)} (final).xlsx`),
    anyText("a tenant's name", `${capitalized(word(9))} & ${capitalized(word(8))} GmbH`),
    anyText("a model's name", `secret model ${word(12)}`),
    anyText("a phone number and address", `+49 ${digits(3)} ${digits(7)}, ${capitalized(word(10))}weg 5`),
    anyText("a text of two languages", `患者${word(10)}の診断 — \u202eenod\u202c ${word(9)}`),
  ];
}

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

function groups(text: string, separator: string): string {
  return (text.match(/.{1,4}/g) ?? []).join(separator);
}

/** A number that passes the check of Luhn: ISO/IEC 7812-1, annex B. */
function cardNumber(prefix: string, length: number): string {
  const body = prefix + digits(length - prefix.length - 1);
  const sum = [...body].reverse().reduce((total, digit, index) => {
    const value = Number(digit) * (index % 2 === 0 ? 2 : 1);
    return total + (value > 9 ? value - 9 : value);
  }, 0);
  return body + String((10 - (sum % 10)) % 10);
}

/** With its check digits: ISO 13616, by ISO/IEC 7064 MOD 97-10. "DE" is 1314 there. */
function germanIban(): string {
  const account = digits(18);
  const check = 98n - (BigInt(`${account}131400`) % 97n);
  return `DE${String(check).padStart(2, "0")}${account}`;
}

/** Shorter things occur by chance. */
const leastLength = 8;

/** What of these things a text has, in any form. */
export function findLeaks(text: string, corpus: readonly Sensitive[]): Leak[] {
  const lowerCased = text.toLowerCase();
  return corpus.flatMap(({ name, text: whole, parts }) => {
    for (const secret of [whole, ...parts]) {
      if (secret.length < leastLength) throw new Error(`${name} is too short to be looked for`);
      for (const [form, written, isExact] of formsOf(secret)) {
        const at = isExact ? text.indexOf(written) : lowerCased.indexOf(written.toLowerCase());
        if (at === -1) continue;
        const context = `${text.slice(Math.max(0, at - 300), at)}<HERE>${text.slice(at + written.length, at + written.length + 100)}`;
        return [{ name, form: secret === whole ? form : `${form} (a part of it)`, context }];
      }
    }
    return [];
  });
}

/** How a text may be written: the name of the form, the text, and whether its case tells. */
function formsOf(secret: string): [string, string, boolean][] {
  const json = JSON.stringify(secret).slice(1, -1);
  const forms: [string, string, boolean][] = [
    ["as it is", secret, false],
    ["URL-encoded", encodeURIComponent(secret), false],
    ["form-encoded", new URLSearchParams({ x: secret }).toString().slice(2), false],
    ["JSON-escaped", json, false],
    ["JSON-escaped twice", JSON.stringify(json).slice(1, -1), false],
    ["JSON-escaped in ASCII", asciiJson(secret), false],
    ["UTF-8 read as Latin-1", Buffer.from(secret).toString("latin1"), false],
    ["with spaces for line feeds", secret.replaceAll("\n", " "), false],
    [
      "label of a metric",
      secret.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n"),
      false,
    ],
    ["hexadecimal", Buffer.from(secret).toString("hex"), false],
  ];
  for (const [offset, encoded] of base64Forms(secret).entries()) {
    forms.push([`base64 at ${offset}`, encoded, true]);
    forms.push([`base64url at ${offset}`, encoded.replaceAll("+", "-").replaceAll("/", "_"), true]);
  }
  // A thing that was cut in the middle is as bad: of a long token either half is enough.
  if (/^[\w.-]{40,}$/.test(secret)) {
    forms.push(["its first half", secret.slice(0, secret.length / 2), false]);
    forms.push(["its second half", secret.slice(-secret.length / 2), false]);
  }
  return forms;
}

function asciiJson(secret: string): string {
  return JSON.stringify(secret)
    .slice(1, -1)
    .replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Its base64 where it begins at the first, second or third byte of a group, without the digits that others share. */
function base64Forms(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [0, 1, 2].map((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString("base64")
      .replace(/=+$/, "");
    const shared = (offset + bytes.length) % 3 === 0 ? 0 : 1;
    return encoded.slice(Math.ceil((offset * 4) / 3), encoded.length - shared);
  });
}
