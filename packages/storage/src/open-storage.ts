// Picks the kind of storage by its URL.
import { EctusError } from "@ectus/core";
import { createLocalStorage } from "./local-storage.ts";
import type { BlobStorage } from "./storage.ts";
import { traceStorage } from "./traced-storage.ts";

/**
 * Opens the storage that a URL names. What is asked of it is recorded in the trace of the work in progress.
 *
 * @param url `file:` and the absolute path of a folder, which is made if it is missing; or
 *   `s3://bucket/prefix?region=…&endpoint=https://…&path_style=true`, all but the bucket optional
 * @param environment where credentials for S3 are looked for first, by the names that AWS gives them
 * @throws EctusError `invalid_config` for another kind of URL, `storage_error` when the folder or bucket cannot be used
 */
export async function openStorage(
  url: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<BlobStorage> {
  const parsed = URL.parse(url);
  if (parsed?.protocol === "file:" && parsed.host === "")
    return traceStorage(await createLocalStorage(parsed), "local");
  if (parsed?.protocol === "s3:") {
    // Loaded only by who uses it: its client takes 0.15 s.
    const { createS3Storage } = await import("./s3-storage.ts");
    return traceStorage(await createS3Storage(parsed, environment), "s3");
  }
  throw new EctusError("invalid_config", {
    faults: `  STORAGE_URL: got ${JSON.stringify(parsed?.protocol ?? "no URL")}, accepts a URL like file:///var/lib/ectus/files or s3://bucket/prefix?region=eu-central-1`,
  });
}
