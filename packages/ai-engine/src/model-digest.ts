// Whether a file is the model that the catalog names. The digest is computed once: a small file beside the model
// remembers it together with the size and the time of change, so that a start does not read 98 MB again.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import type { CatalogModel } from "./model-catalog.ts";

export type FileVerdict = "right" | "missing" | "wrong size" | "wrong digest";

interface Remembered {
  readonly bytes: number;
  readonly mtimeMs: number;
  readonly sha256: string;
}

/** Checks a file against the catalog; `signal` ends the reading. */
export async function checkModelFile(
  path: string,
  model: Pick<CatalogModel, "bytes" | "sha256">,
  signal?: AbortSignal,
): Promise<FileVerdict> {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined || !facts.isFile()) return "missing";
  if (facts.size !== model.bytes) return "wrong size";
  const known = await readRemembered(path);
  const sha256 =
    known?.bytes === facts.size && known.mtimeMs === facts.mtimeMs
      ? known.sha256
      : await sha256Of(path, signal);
  if (sha256 !== model.sha256) return "wrong digest";
  if (known === undefined || known.mtimeMs !== facts.mtimeMs) {
    const remembered: Remembered = { bytes: facts.size, mtimeMs: facts.mtimeMs, sha256 };
    // In a folder that may not be written to, the next start reads the file again.
    await writeFile(rememberedPath(path), `${JSON.stringify(remembered)}\n`).catch(() => undefined);
  }
  return "right";
}

export const rememberedPath = (path: string): string => `${path}.checked.json`;

async function readRemembered(path: string): Promise<Remembered | undefined> {
  try {
    const { bytes, mtimeMs, sha256 }: Partial<Record<string, unknown>> = JSON.parse(
      await readFile(rememberedPath(path), "utf8"),
    );
    return typeof bytes === "number" && typeof mtimeMs === "number" && typeof sha256 === "string"
      ? { bytes, mtimeMs, sha256 }
      : undefined;
  } catch {
    return undefined;
  }
}

async function sha256Of(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(
    createReadStream(path, { highWaterMark: 1 << 20 }),
    hash,
    signal === undefined ? {} : { signal },
  );
  return hash.digest("hex");
}
