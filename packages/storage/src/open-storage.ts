// Picks the kind of storage by its URL.
import { EctusError } from "@ectus/core";
import { createLocalStorage } from "./local-storage.ts";
import type { BlobStorage } from "./storage.ts";
import { traceStorage } from "./traced-storage.ts";

/**
 * Opens the storage that a URL names. What is asked of it is recorded in the trace of the work in progress.
 *
 * @param url `file:` and the absolute path of a folder, which is made if it is missing
 * @throws EctusError `invalid_config` for another kind of URL, `storage_error` when the folder cannot be used
 */
export async function openStorage(url: string): Promise<BlobStorage> {
  const parsed = URL.parse(url);
  if (parsed?.protocol === "file:" && parsed.host === "")
    return traceStorage(await createLocalStorage(parsed), "local");
  throw new EctusError("invalid_config", {
    faults: `  STORAGE_URL: got ${JSON.stringify(parsed?.protocol ?? "no URL")}, accepts a URL like file:///var/lib/ectus/files`,
  });
}
