// Names from outside as they may be put into messages, which end up on terminals.

/** The text with control and format characters, which move a cursor or hide letters, written as `\u{…}`. */
export function printable(text: string, most = 300): string {
  const short = text.length > most ? `${text.slice(0, most)}…` : text;
  return short
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}
