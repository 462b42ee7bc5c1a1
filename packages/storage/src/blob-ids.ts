// What a caller may name: tenants and blobs by UUIDs in lower case, and parts of a blob. Every kind of storage checks
// with these before it touches anything.
import { EctusError } from "@ectus/core";
import type { BlobRange } from "./storage.ts";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isId(text: string): boolean {
  return uuid.test(text);
}

/** @throws EctusError `storage_error` for what is not an id */
export function checkId(id: string): string {
  if (!isId(id)) throw new EctusError("storage_error", { reason: "an id is not a UUID in lower case" });
  return id;
}

/** @throws EctusError `storage_error` for a range that no blob could have */
export function checkRange({ start = 0, end = Number.MAX_SAFE_INTEGER }: BlobRange): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
    throw new EctusError("storage_error", { reason: `the range from ${start} to ${end} is not possible` });
  }
}
