// A whole small bag in a folder, for tests that check it with programs that are not ours.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createSigningKey } from "../signing-key.ts";
import { type PayloadFile, writeTagFiles } from "../tag-files.ts";
import { exampleFile, exampleHead } from "./example-document.ts";

/** That of RFC 8037, appendix A. */
export const exampleSeed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
export const exampleKey = createSigningKey(exampleSeed);

const files = [1, 2, 3].map(exampleFile);

export async function writeExampleBag(folder: string, tenantName = exampleHead.tenant.name): Promise<void> {
  const write = async (path: string, source: AsyncIterable<Uint8Array> | readonly string[]) => {
    const hash = createHash("sha256");
    let bytes = 0;
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await pipeline(
      source,
      async function* (chunks: AsyncIterable<Uint8Array | string>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          bytes += chunk.length;
          yield chunk;
        }
      },
      createWriteStream(join(folder, path)),
    );
    return { bytes, sha256: hash.digest("hex") };
  };
  const payload: PayloadFile[] = [];
  for (const { path } of files) payload.push({ path, ...(await write(path, [`contents of ${path}`])) });
  await writeTagFiles({
    head: { ...exampleHead, tenant: { ...exampleHead.tenant, name: tenantName } },
    files: streamOf(files),
    payload: streamOf(payload),
    payloadFiles: payload.length,
    payloadBytes: payload.reduce((sum, { bytes }) => sum + bytes, 0),
    baggedAt: new Date("2026-11-24T23:10:00Z"),
    key: exampleKey,
    write,
  });
}

async function* streamOf<T>(all: readonly T[]): AsyncGenerator<T> {
  yield* all;
}
