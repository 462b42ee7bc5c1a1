// Compression of a part. The same rows give the same bytes, in whatever pieces they come.
import { constants, createGzip, createZstdCompress, type Gzip, type ZstdCompress } from "node:zlib";
import type { Compression } from "@ectus/bag";

// Small chunks are what costs.
const chunkBytes = 1024 * 1024;
// While one block is compressed, others may come.
const mostInFlight = 2;
// As the command zstd has it; gzip's own is 6.
const zstdLevel = 3;

/** A piece of what is to be compressed. */
export interface Block {
  readonly bytes: Uint8Array;
  /** Called once its bytes are not needed any more. */
  release?(): void;
}

export async function* compress(
  blocks: AsyncIterable<Block>,
  compression: Compression,
): AsyncGenerator<Uint8Array> {
  if (compression === "none") {
    for await (const { bytes, release } of blocks) {
      yield bytes;
      release?.();
    }
    return;
  }
  const stream =
    compression === "gzip"
      ? createGzip({ chunkSize: chunkBytes })
      : createZstdCompress({
          chunkSize: chunkBytes,
          params: { [constants.ZSTD_c_compressionLevel]: zstdLevel, [constants.ZSTD_c_checksumFlag]: 1 },
        });
  const feeding = feed(stream, blocks);
  // Its error is that of the stream, which is read below.
  feeding.catch(() => {});
  try {
    yield* stream as AsyncIterable<Uint8Array>;
    await feeding;
  } finally {
    stream.destroy();
  }
}

async function feed(stream: Gzip | ZstdCompress, blocks: AsyncIterable<Block>): Promise<void> {
  const inFlight: Promise<void>[] = [];
  try {
    for await (const block of blocks) {
      const writing = write(stream, block);
      // Thrown where it is waited for, which may be later than the stream's end.
      writing.catch(() => {});
      inFlight.push(writing);
      if (inFlight.length === mostInFlight) await inFlight.shift();
    }
    // An end that comes with the last block would be compressed together with it, and one that comes later would not:
    // the bytes would depend on time.
    await Promise.all(inFlight);
    stream.end();
  } catch (error) {
    stream.destroy(error as Error);
    throw error;
  }
}

async function write(stream: Gzip | ZstdCompress, { bytes, release }: Block): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  stream.write(bytes, (error) => (error == null ? resolve() : reject(error)));
  await promise;
  release?.();
}

/** What the name of a compressed part ends with. */
export const compressionSuffix: Readonly<Record<Compression, string>> = {
  none: "",
  gzip: ".gz",
  zstd: ".zst",
};
