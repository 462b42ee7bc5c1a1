// Reads what a write is given: in pieces, counted and hashed as they pass, refused when there are too many bytes, and
// left as soon as the signal is aborted.
import { createHash } from "node:crypto";
import { EctusError } from "@ectus/core";
import type { BlobDigest, WriteOptions } from "./storage.ts";

// Hashing and writing go in pieces, so that one huge chunk does not hold the event loop.
const pieceBytes = 256 * 1024;

export interface BlobSource {
  /** To be read once. Each piece has at least one byte and at most `pieceBytes`. */
  readonly pieces: AsyncGenerator<Uint8Array>;
  /** Of the pieces, once they have ended. */
  digest(): BlobDigest;
}

/** The pieces end with `request_too_large`, or with what the source or the signal threw. */
export function openSource(
  source: AsyncIterable<Uint8Array>,
  { maxBytes, signal }: WriteOptions,
): BlobSource {
  const hash = createHash("sha256");
  let bytes = 0;
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for await (const chunk of untilAborted(source, signal)) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError("a source of a blob must yield bytes");
      bytes += chunk.byteLength;
      if (bytes > maxBytes) throw new EctusError("request_too_large", { limitBytes: maxBytes });
      for (let offset = 0; offset < chunk.byteLength; offset += pieceBytes) {
        const piece = chunk.subarray(offset, offset + pieceBytes);
        hash.update(piece);
        yield piece;
        signal?.throwIfAborted();
      }
    }
  }
  return { pieces: pieces(), digest: () => ({ bytes, sha256: hash.digest("hex") }) };
}

/** What `source` yields; throws as soon as the signal is aborted, even while the source is silent. */
async function* untilAborted(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  aborted.catch(ignore);
  const onAbort = (): void => reject(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  let ended = false;
  try {
    while (true) {
      signal?.throwIfAborted();
      const next = await Promise.race([iterator.next(), aborted]);
      if (next.done === true) {
        ended = true;
        return;
      }
      yield next.value;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    // Not awaited: a generator that hangs would not end before it wakes.
    if (!ended) iterator.return?.().catch(ignore);
  }
}

function ignore(): void {}
