// Writes a blob to an S3 server: one request if it is small, else a multipart upload of which a few parts are on their
// way at a time. Nothing of it is to be seen before the last request. A write that failed has ended when it rejects.
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { openSource } from "./blob-source.ts";
import type { PartBuffers } from "./part-buffers.ts";
import { onS3, type S3Connection } from "./s3-connection.ts";
import type { BlobDigest, WriteOptions } from "./storage.ts";

const mebibyte = 1024 * 1024;
// What S3 allows.
export const smallestPartBytes = 5 * mebibyte;
const mostParts = 10_000;
/** With as many parts as there may be: 78 GiB, the largest blob. */
const largestPartBytes = 8 * mebibyte;
export const mostPartsOnTheirWay = 2;

export async function writeToS3(
  s3: S3Connection,
  buffers: PartBuffers,
  key: string,
  source: AsyncIterable<Uint8Array>,
  { maxBytes, signal }: WriteOptions,
): Promise<BlobDigest> {
  // A source that fails while no one reads from it yet must not end the process; reading it later throws its error.
  if (source instanceof Readable) source.on("error", ignore);
  const giveUp = new AbortController();
  const onAbort = (): void => giveUp.abort(signal?.reason);
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  const partBytes = partBytesFor(maxBytes);
  const limit = Math.min(maxBytes, mostParts * partBytes);
  const { pieces, digest } = openSource(source, { maxBytes: limit, signal: giveUp.signal });
  const upload = openUpload(s3, key, giveUp);
  try {
    giveUp.signal.throwIfAborted();
    let part = openPart(buffers.take(partBytes));
    for await (const piece of pieces) {
      for (let from = 0; from < piece.byteLength; ) {
        if (part.isFull()) {
          const { buffer } = part;
          await upload.add(part.end(), () => buffers.giveBack(buffer));
          part = openPart(buffers.take(partBytes));
        }
        from += part.add(piece.subarray(from));
      }
    }
    const { buffer } = part;
    await upload.complete(part.end());
    buffers.giveBack(buffer);
    return digest();
  } catch (error) {
    giveUp.abort(error);
    if (source instanceof Readable) source.destroy();
    await upload.abandon();
    // Whatever came first: the source, the signal or a request.
    throw giveUp.signal.reason;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Parts as small as allowed, unless there would be too many; never so large that a write takes more memory. */
function partBytesFor(maxBytes: number): number {
  const needed = Math.ceil(maxBytes / mostParts / mebibyte) * mebibyte;
  return Math.min(largestPartBytes, Math.max(smallestPartBytes, needed));
}

/** Bytes of a part, which the server compares with their digest. */
interface PartBody {
  readonly Body: Uint8Array;
  readonly ChecksumSHA256: string;
}

/** A part that is being gathered. Its bytes are copied, since they are kept until it has arrived. */
function openPart(buffer: Buffer) {
  const hash = createHash("sha256");
  let filled = 0;
  return {
    buffer,
    isFull: () => filled === buffer.byteLength,
    /** Takes as many bytes as there is room for, and gives how many. */
    add(bytes: Uint8Array): number {
      const fitting = bytes.subarray(0, buffer.byteLength - filled);
      hash.update(fitting);
      buffer.set(fitting, filled);
      filled += fitting.byteLength;
      return fitting.byteLength;
    },
    end: (): PartBody => ({ Body: buffer.subarray(0, filled), ChecksumSHA256: hash.digest("base64") }),
  };
}

/** What a write asks of the server. The first request that fails gives the write up: no other begins. */
function openUpload({ client, ask, place, timeouts }: S3Connection, Key: string, giveUp: AbortController) {
  const target = { Bucket: place.bucket, Key };
  const onTheirWay = new Set<Promise<void>>();
  const arrived: CompletedPart[] = [];
  // What is cut off while the server takes it may bring an upload back after its end, so parts get time to arrive.
  const cutOff = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onGivenUp = (): void => {
    timer = setTimeout(() => cutOff.abort(giveUp.signal.reason), timeouts.lastPartsMs).unref();
  };
  giveUp.signal.addEventListener("abort", onGivenUp, { once: true });
  let UploadId: string | undefined;

  async function begin(): Promise<void> {
    const create = new CreateMultipartUploadCommand({ ...target, ChecksumAlgorithm: "SHA256" });
    ({ UploadId } = await onS3(place, () => ask((options) => client.send(create, options))));
  }

  async function send(part: PartBody, PartNumber: number): Promise<void> {
    const command = new UploadPartCommand({ ...target, UploadId, PartNumber, ...part });
    command.middlewareStack.add(
      (next) => (args) => {
        giveUp.signal.throwIfAborted();
        return next(args);
      },
      // Before each try.
      { step: "finalizeRequest", priority: "low", name: "notGivenUp" },
    );
    const { ETag, ChecksumSHA256 } = await ask(
      (options) => client.send(command, options),
      timeouts.partMs,
      cutOff.signal,
    );
    arrived[PartNumber - 1] = {
      PartNumber,
      ...checkAnswer({ ETag }),
      ...(ChecksumSHA256 === undefined ? {} : { ChecksumSHA256 }),
    };
  }

  let parts = 0;
  async function add(part: PartBody, onArrival: () => void): Promise<void> {
    // The requests but those of parts are not cut off: whether they took effect would not be known.
    if (UploadId === undefined) await begin();
    parts += 1;
    const number = parts;
    const sending = onS3(place, () => send(part, number)).then(onArrival);
    onTheirWay.add(sending);
    sending.then(
      () => onTheirWay.delete(sending),
      (error) => giveUp.abort(error),
    );
    // Before the next one is gathered, so that a write has no more memory than those on their way.
    if (onTheirWay.size >= mostPartsOnTheirWay) await Promise.race(onTheirWay);
    giveUp.signal.throwIfAborted();
  }

  return {
    /** Resolves when another part may be gathered, which need not be when this one has arrived. */
    add,
    /** Resolves when all is durable. */
    async complete(last: PartBody): Promise<void> {
      giveUp.signal.throwIfAborted();
      if (UploadId === undefined) {
        const put = new PutObjectCommand({ ...target, ...last });
        await onS3(place, async () =>
          checkAnswer(await ask((options) => client.send(put, options), timeouts.partMs)),
        );
        return;
      }
      await add(last, ignore);
      await Promise.all(onTheirWay);
      giveUp.signal.throwIfAborted();
      const complete = new CompleteMultipartUploadCommand({
        ...target,
        UploadId,
        MultipartUpload: { Parts: arrived },
      });
      await onS3(place, async () =>
        checkAnswer(await ask((options) => client.send(complete, options), timeouts.partMs)),
      );
    },
    /** To be called when the write was given up. If it cannot be told the server, removeUnfinished finds the upload. */
    async abandon(): Promise<void> {
      await Promise.allSettled(onTheirWay);
      clearTimeout(timer);
      if (UploadId === undefined) return;
      const abort = new AbortMultipartUploadCommand({ ...target, UploadId });
      await ask((options) => client.send(abort, options)).catch(ignore);
    },
  };
}

/** What stored something names it. Something between here and the server may say 200 to anything. */
function checkAnswer({ ETag }: { readonly ETag?: string | undefined }): { readonly ETag: string } {
  if (ETag === undefined) throw new Error("the answer to a write names no ETag");
  return { ETag };
}

function ignore(): void {}
