// Puts an answer together from bytes at hand and ranges of blobs, and sends it. A blob is opened when it is its turn,
// and read no faster than the client takes it. The answer breaks, and never ends short, when a blob is missing or not
// as long as it should be.
import type { ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import { EctusError } from "@ectus/core";
import type { BlobReader } from "@ectus/storage";

export interface BlobPiece {
  readonly blobId: string;
  /** Length of the whole blob, as its row says. */
  readonly bytes: number;
  /** Both ends belong to the piece. */
  readonly start: number;
  readonly end: number;
}

export type Piece = Buffer | BlobPiece;

export interface BlobSource {
  /** Undefined where there are streams alone. */
  readonly open: ((blobId: string) => Promise<BlobReader>) | undefined;
  /** A range that ends past the blob's end gives what there is. */
  stream(blobId: string, range: { start: number; end: number }): Promise<Readable>;
}

export interface Chunk {
  readonly bytes: Buffer;
  /** Called when it was sent: its memory is used again. */
  release(): void;
}

// New memory for each chunk took half of the speed; a few chunks of this size keep disk and socket busy.
const chunkBytes = 256 * 1024;
const mostUnsent = 3;

/**
 * @param pieces what to send, in order
 * @param signal ends the reading, also of a storage that is silent; see client-signal.ts
 */
export async function* readPieces(
  pieces: Iterable<Piece>,
  source: BlobSource,
  signal: AbortSignal,
): AsyncGenerator<Chunk, undefined> {
  const free: Buffer[] = [];
  for (const piece of pieces) {
    signal.throwIfAborted();
    if (Buffer.isBuffer(piece)) yield { bytes: piece, release: nothing };
    else if (piece.end < piece.start) continue;
    else if (source.open === undefined) yield* readStream(piece, source, signal);
    else yield* readInto(free, piece, source.open, signal);
  }
  return undefined;
}

async function* readInto(
  free: Buffer[],
  { blobId, bytes, start, end }: BlobPiece,
  open: (blobId: string) => Promise<BlobReader>,
  signal: AbortSignal,
): AsyncGenerator<Chunk> {
  const reader = await open(blobId);
  try {
    if (reader.bytes !== bytes) throw wrongLength(reader.bytes > bytes ? "longer" : "shorter");
    for (let position = start; position <= end; ) {
      signal.throwIfAborted();
      const left = end - position + 1;
      const buffer = free.pop() ?? Buffer.allocUnsafeSlow(Math.min(chunkBytes, left));
      const got = await reader.read(buffer.subarray(0, Math.min(buffer.length, left)), position);
      if (got === 0) throw wrongLength("shorter");
      position += got;
      yield {
        bytes: buffer.subarray(0, got),
        // Smaller ones were for what is small.
        release: buffer.length < chunkBytes ? nothing : () => void free.push(buffer),
      };
    }
  } finally {
    await reader.close();
  }
}

async function* readStream(
  { blobId, bytes, start, end }: BlobPiece,
  source: BlobSource,
  signal: AbortSignal,
): AsyncGenerator<Chunk> {
  // One byte past the end tells a blob that is longer than it should be.
  const content = await source.stream(blobId, { start, end: end === bytes - 1 ? end + 1 : end });
  const leave = (): void => void content.destroy(signal.reason);
  signal.addEventListener("abort", leave, { once: true });
  if (signal.aborted) leave();
  let left = end - start + 1;
  // The last chunk waits until it is known to be the last: with it the client would have all that it was promised.
  let held: Buffer | undefined;
  try {
    for await (const chunk of content as AsyncIterable<Buffer>) {
      left -= chunk.byteLength;
      if (left < 0) throw wrongLength("longer");
      if (held !== undefined) yield { bytes: held, release: nothing };
      held = chunk;
    }
    if (left > 0) throw wrongLength("shorter");
    if (held !== undefined) yield { bytes: held, release: nothing };
  } finally {
    signal.removeEventListener("abort", leave);
    content.destroy();
  }
}

/** Sends chunks as the body of an answer whose head was written, and ends it. Rejects with what the chunks threw. */
export async function sendChunks(
  response: ServerResponse,
  chunks: AsyncIterable<Chunk>,
  signal: AbortSignal,
): Promise<void> {
  let unsent = 0;
  let isRefused = false;
  let wake = nothing;
  signal.addEventListener("abort", () => wake(), { once: true });
  const refuseWhenGone = (): void => {
    signal.throwIfAborted();
    // Its socket is destroyed before it is closed. Writes then fail at once, so that none would ever wait.
    if (isRefused || response.destroyed || response.socket?.destroyed)
      throw new EctusError("client_closed_request");
  };
  // The last one is sent together with the end: a client that has all it was promised may leave at once.
  let held: Chunk | undefined;
  for await (const chunk of chunks) {
    refuseWhenGone();
    if (held !== undefined) {
      const { bytes, release } = held;
      unsent += 1;
      response.write(bytes, (error) => {
        if (error) isRefused = true;
        unsent -= 1;
        release();
        wake();
      });
    }
    held = chunk;
    while (unsent >= mostUnsent && !signal.aborted)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  }
  refuseWhenGone();
  response.end(held?.bytes);
}

/**
 * The same chunks, once the first two of them are there: what fails before that is an ordinary error. Before a file in
 * a tar file comes its header, for which no storage is asked. Who does not read the chunks returns them.
 */
export async function withFirst(
  chunks: AsyncGenerator<Chunk, undefined>,
): Promise<AsyncIterableIterator<Chunk>> {
  const first = [await chunks.next()];
  if (first[0]?.done === false) first.push(await chunks.next());
  // Not a generator: one that is left before it began would not pass that on.
  const all: AsyncIterableIterator<Chunk> = {
    [Symbol.asyncIterator]: () => all,
    next() {
      const result = first.shift();
      return result === undefined ? chunks.next() : Promise.resolve(result);
    },
    return: () => chunks.return(undefined),
  };
  return all;
}

const wrongLength = (comparison: "longer" | "shorter"): EctusError =>
  new EctusError("storage_error", {
    reason: `a stored file is ${comparison} than it was when it was written`,
  });

function nothing(): void {}
