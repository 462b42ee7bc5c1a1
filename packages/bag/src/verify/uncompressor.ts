// Uncompresses the bytes of a part, and insists that they end where their compression does. What node:zlib overlooks
// is that something follows: zeros after gzip, anything after zstd.
import { createGunzip, createZstdDecompress } from "node:zlib";
import { EctusError } from "@ectus/core";
import type { Compression } from "../export-document.ts";

export interface Uncompressor {
  /** Takes compressed bytes and waits while enough are under way. Throws `bag_invalid` if they are damaged. */
  write(chunk: Buffer): Promise<void>;
  /** Waits until all is uncompressed. Throws `bag_invalid` if the end is missing, or something follows it. */
  end(): Promise<void>;
  destroy(): void;
}

const chunkBytes = 256 * 1024;
/** So that a chunk is read and hashed while another is uncompressed. */
const bytesUnderWay = 4 * 1024 * 1024;

/** @param take gets uncompressed bytes; what it throws, `write` or `end` throws. */
export function createUncompressor(
  compression: Exclude<Compression, "none">,
  take: (chunk: Buffer) => void,
  signal: AbortSignal,
): Uncompressor {
  const options = { chunkSize: chunkBytes, highWaterMark: bytesUnderWay };
  const stream = compression === "gzip" ? createGunzip(options) : createZstdDecompress(options);
  let given = 0;
  let isEnded = false;
  let failure: unknown;
  let wake = (): void => {};

  stream.on("data", (chunk: Buffer) => {
    if (failure !== undefined) return;
    try {
      // Few bytes may become very many, so that this is where time goes.
      signal.throwIfAborted();
      take(chunk);
    } catch (error) {
      failure = error;
      stream.destroy();
    }
  });
  stream.on("error", (error: NodeJS.ErrnoException) => {
    failure ??= damaged(compression, error);
    wake();
  });
  stream.on("end", () => {
    isEnded = true;
    wake();
  });
  stream.on("drain", () => wake());
  stream.on("close", () => {
    if (!isEnded) failure ??= new EctusError("bag_invalid", { reason: "it was given up" });
    wake();
  });

  const waking = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
    });

  return {
    async write(chunk) {
      given += chunk.length;
      // After its end the stream takes no more; `end` tells.
      if (failure === undefined && !isEnded && !stream.write(chunk)) await waking();
      if (failure !== undefined) throw failure;
    },
    async end() {
      if (failure === undefined && !isEnded) {
        stream.end();
        while (failure === undefined && !isEnded) await waking();
      }
      if (failure !== undefined) throw failure;
      if (stream.bytesWritten !== given)
        throw new EctusError("bag_invalid", {
          reason: `it goes on after the end of its ${compression} data`,
        });
    },
    destroy() {
      stream.destroy();
    },
  };
}

function damaged(compression: string, error: NodeJS.ErrnoException): EctusError {
  const reason =
    error.code === "Z_BUF_ERROR"
      ? `it ends before its ${compression} data do`
      : `its ${compression} data are damaged (${error.message})`;
  return new EctusError("bag_invalid", { reason }, { cause: error });
}
