// Payment card numbers and IBANs in texts: found by their form, and told from other numbers by scheme and check digits.

const separator = "[ \\-\\u00a0\\u2009-\\u2014\\u202f]";
// A UUID may have enough digits; it is taken whole and left alone.
const digitsPattern = new RegExp(
  `(?<![\\da-f])[\\da-f]{8}(?:-[\\da-f]{4}){3}-[\\da-f]{12}(?![\\da-f])|\\d(?:${separator}?\\d){12,}`,
  "gi",
);
const groupsPattern = /\d+/g;
const leastCardDigits = 13;
const mostCardDigits = 19;

// By the ranges of ISO/IEC 7812 that schemes use, with the lengths that they issue: Visa, Mastercard, American Express,
// Diners Club, JCB, Mir and BORICA, Maestro and others of 50 and 56 to 58, those of 6 (Discover, UnionPay, Maestro,
// RuPay, Verve), RuPay and UnionPay of 8, Uzcard, Troy, Humo.
const schemePattern =
  /^(?:4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|3(?:0[0-59]|[689]\d)\d{11,16}|35(?:2[89]|[3-8]\d)\d{12,15}|220[0-5]\d{12,15}|(?:5[0678]|6\d)\d{11,17}|8[12]\d{14,17}|8600\d{12}|9792\d{12}|9860\d{12})$/;

/** Whether digits are the number of a card: of a scheme's range and length, and with the right check digit. */
export function isCardNumber(digits: string): boolean {
  return schemePattern.test(digits) && passesLuhn(digits);
}

/** ISO/IEC 7812-1, annex B. */
function passesLuhn(digits: string): boolean {
  let sum = 0;
  for (let place = 1; place <= digits.length; place += 1) {
    const digit = digits.charCodeAt(digits.length - place) - 48;
    const doubled = digit * 2;
    sum += place % 2 === 1 ? digit : doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

/** Replaces card numbers, with or without spaces and dashes. */
export function hideCards(text: string, shown: string): string {
  return text.replace(digitsPattern, (run: string, at: number) =>
    /^[\da-f]{8}-/i.test(run) && run.length === 36 && !/^\d+$/.test(run.replaceAll("-", ""))
      ? run
      : hideInRun(run, shown, { left: isGlued(text, at, -1), right: isGlued(text, at + run.length - 1, 1) }),
  );
}

// Numbers of cards are written in groups of four to six digits, the last of what is left; rows of small numbers are none.
const leastInGroup = 3;

/** Other numbers may stand beside the card's, as its date: looks at each way to join groups of digits. */
function hideInRun(run: string, shown: string, glued: { left: boolean; right: boolean }): string {
  const groups = [...run.matchAll(groupsPattern)];
  let result = "";
  let done = 0;
  for (let first = glued.left ? 1 : 0; first < groups.length; first += 1) {
    const start = groups[first]?.index ?? 0;
    if (start < done) continue;
    let digits = "";
    for (let last = first; last < groups.length - (glued.right ? 1 : 0); last += 1) {
      const group = groups[last] as RegExpExecArray;
      if (digits.length + group[0].length > mostCardDigits) break;
      digits += group[0];
      if (digits.length >= leastCardDigits && isCardNumber(digits)) {
        result += run.slice(done, start) + shown;
        done = group.index + group[0].length;
        break;
      }
      if (group[0].length < leastInGroup) break;
    }
  }
  return result + run.slice(done);
}

const mostGlued = 64;

/** Whether digits are part of something longer: a number in hex, or the decimals of one. */
function isGlued(text: string, edge: number, step: 1 | -1): boolean {
  let at = edge + step;
  if (step === -1 && text.charAt(at) === "." && isDigit(text.charCodeAt(at - 1))) return true;
  let letters = 0;
  for (let count = 0; count < mostGlued; count += 1, at += step) {
    const code = text.charCodeAt(at);
    if (isDigit(code)) continue;
    const letter = letterOf(code);
    if (letter === undefined) return letters > 0;
    if (letter > lastHexLetter) return false;
    letters += 1;
  }
  return true;
}

const isDigit = (code: number): boolean => code >= 48 && code <= 57;

const lastHexLetter = 15;

/** 10 to 35 for the letters, in either case. */
function letterOf(code: number): number | undefined {
  const letter = (code | 32) - 87;
  return code >= 65 && letter >= 10 && letter <= 35 ? letter : undefined;
}

// Lengths by country: SWIFT's IBAN registry, release 100.
const ibanLengths: Readonly<Record<string, number>> = {
  AD: 24,
  AE: 23,
  AL: 28,
  AT: 20,
  AZ: 28,
  BA: 20,
  BE: 16,
  BG: 22,
  BH: 22,
  BI: 27,
  BR: 29,
  BY: 28,
  CH: 21,
  CR: 22,
  CY: 28,
  CZ: 24,
  DE: 22,
  DJ: 27,
  DK: 18,
  DO: 28,
  EE: 20,
  EG: 29,
  ES: 24,
  FI: 18,
  FK: 18,
  FO: 18,
  FR: 27,
  GB: 22,
  GE: 22,
  GI: 23,
  GL: 18,
  GR: 27,
  GT: 28,
  HN: 28,
  HR: 21,
  HU: 28,
  IE: 22,
  IL: 23,
  IQ: 23,
  IS: 26,
  IT: 27,
  JO: 30,
  KW: 30,
  KZ: 20,
  LB: 28,
  LC: 32,
  LI: 21,
  LT: 20,
  LU: 20,
  LV: 21,
  LY: 25,
  MC: 27,
  MD: 24,
  ME: 22,
  MK: 19,
  MN: 20,
  MR: 27,
  MT: 31,
  MU: 30,
  NI: 28,
  NL: 18,
  NO: 15,
  OM: 23,
  PK: 24,
  PL: 28,
  PS: 29,
  PT: 25,
  QA: 29,
  RO: 24,
  RS: 22,
  RU: 33,
  SA: 24,
  SC: 31,
  SD: 18,
  SE: 24,
  SI: 19,
  SK: 24,
  SM: 27,
  SO: 23,
  ST: 25,
  SV: 28,
  TL: 23,
  TN: 24,
  TR: 26,
  UA: 29,
  VA: 22,
  VG: 24,
  XK: 20,
  YE: 30,
};
// Groups of a UUID may look like those of Andorra, Estonia, Bosnia and Belgium.
const ibanPattern =
  /(?<![A-Za-z\d]|[\da-f]{8}-(?:[\da-f]{4}-){0,2})(?![\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}(?![\da-f]))[A-Z]{2}\d\d(?=[ \-\u00a0]?[A-Z\d])/gi;

/** Replaces IBANs (ISO 13616), with or without spaces. */
export function hideIbans(text: string, shown: string): string {
  let result = "";
  let done = 0;
  ibanPattern.lastIndex = 0;
  for (let found = ibanPattern.exec(text); found !== null; found = ibanPattern.exec(text)) {
    const end = endOfIban(text, found.index);
    if (end === undefined) continue;
    result += text.slice(done, found.index) + shown;
    done = end;
    ibanPattern.lastIndex = end;
  }
  return done === 0 ? text : result + text.slice(done);
}

function endOfIban(text: string, start: number): number | undefined {
  const length = ibanLengths[text.slice(start, start + 2).toUpperCase()];
  if (length === undefined) return undefined;
  const values: number[] = [];
  let at = start;
  for (let wasSeparator = true; values.length < length; at += 1) {
    const code = text.charCodeAt(at);
    const value = isDigit(code) ? code - 48 : letterOf(code);
    if (value !== undefined) values.push(value);
    else if (wasSeparator || !(code === 32 || code === 45 || code === 160)) return undefined;
    wasSeparator = value === undefined;
  }
  const next = text.charCodeAt(at);
  if (isDigit(next) || letterOf(next) !== undefined) return undefined;
  return passesMod97(values) ? at : undefined;
}

/** ISO/IEC 7064, MOD 97-10; the first four stand last. */
function passesMod97(values: readonly number[]): boolean {
  let rest = 0;
  for (let place = 0; place < values.length; place += 1) {
    const value = values[(place + 4) % values.length] as number;
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest === 1;
}
