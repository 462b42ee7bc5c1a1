// Ids as clients see them: a prefix and the 32 hex digits of a UUIDv7. A text of any other form is an unknown id.

const hex32 = /^[0-9a-f]{32}$/;
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export type IdPrefix = "chatcmpl-" | "export-" | "file-" | "msg-";

/** `018f…-…` becomes `file-018f…`. */
export function publicId(prefix: IdPrefix, uuid: string): string {
  return prefix + uuid.replaceAll("-", "");
}

/** The UUID of a public id, or undefined if the text is none. */
export function parsePublicId(prefix: IdPrefix, text: string): string | undefined {
  const hex = text.startsWith(prefix) ? text.slice(prefix.length) : "";
  if (!hex32.test(hex)) return undefined;
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Whether a text is a UUID in its canonical form. */
export function isUuid(text: string): boolean {
  return uuidPattern.test(text);
}
