// Check of the storage of tenants' files: writes, reads and removes a small one.
import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { errorMessage } from "@ectus/core";
import { platformTenantId } from "@ectus/database";
import { openStorage } from "@ectus/storage";
import { type Check, fail, ok } from "./check.ts";

const content = "written by ectus doctor";

export async function checkStorage(url: string): Promise<Check> {
  try {
    const storage = await openStorage(url);
    const id = randomUUID();
    await storage.write(platformTenantId, id, Readable.from([Buffer.from(content)]), {
      maxBytes: content.length,
    });
    try {
      let read = "";
      for await (const chunk of await storage.read(platformTenantId, id)) read += chunk;
      if (read !== content) throw new Error("what was read is not what was written");
    } finally {
      await storage.remove(platformTenantId, id);
    }
    return ok("storage", `${withoutCredentials(url)} takes, gives and removes files`);
  } catch (error) {
    return fail(
      "storage",
      `${withoutCredentials(url)}: ${errorMessage(error)}`,
      "Make room there, let this user write to it, or name another in STORAGE_URL.",
    );
  }
}

/** An S3 URL may not have any, but one that has them is shown here too: of it no more than a bucket and a prefix. */
function withoutCredentials(url: string): string {
  if (!url.startsWith("s3:")) return url;
  return /^s3:\/\/[a-z0-9.-]+(?:\/[^@?#]*)?(?=$|\?)/.exec(url)?.[0] ?? "s3:";
}
