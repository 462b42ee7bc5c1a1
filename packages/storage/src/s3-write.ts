// Writes a blob to an S3 server: one request if it is small, else a multipart upload of which a few parts are on their
// way at a time. Nothing of it is to be seen before the last request. The SDK's Upload cuts and numbers the parts; what
// it lacks is here: requests end when the write is given up, and a write that failed has ended when it rejects.
import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { openSource, pieceBytes } from "./blob-source.ts";
import { onS3, type S3Connection } from "./s3-connection.ts";
import { storageErrorOf } from "./s3-errors.ts";
import type { BlobDigest, WriteOptions } from "./storage.ts";

const mebibyte = 1024 * 1024;
// What S3 allows.
const smallestPartBytes = 5 * mebibyte;
const mostParts = 10_000;
/** With as many parts as there may be: 78 GiB, the largest blob. */
const largestPartBytes = 8 * mebibyte;
/** Parts on their way and the one that is being gathered: the memory of one write. */
const bufferedBytes = 24 * mebibyte;
const mostPartsOnTheirWay = 3;

export async function writeToS3(
  s3: S3Connection,
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
  const body = Readable.from(gather(pieces, (error) => giveUp.abort(error)));
  body.on("error", ignore);
  const target = { Bucket: s3.place.bucket, Key: key };
  const requests = uploadRequests(s3, giveUp);
  try {
    giveUp.signal.throwIfAborted();
    const upload = new Upload({
      client: requests.client,
      params: { ...target, Body: body, ChecksumAlgorithm: "SHA256" },
      partSize: partBytes,
      queueSize: Math.max(1, Math.min(mostPartsOnTheirWay, Math.floor(bufferedBytes / partBytes) - 1)),
      leavePartsOnError: true,
    });
    await upload.done();
    return digest();
  } catch (error) {
    if (source instanceof Readable) source.destroy();
    const UploadId = requests.uploadId();
    // If this fails too, the upload stays until removeUnfinished finds it.
    if (UploadId !== undefined)
      await s3
        .ask((options) => s3.client.send(new AbortMultipartUploadCommand({ ...target, UploadId }), options))
        .catch(ignore);
    // Whatever came first: the source, the signal or a request.
    throw giveUp.signal.aborted ? giveUp.signal.reason : storageErrorOf(error, s3.place);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    body.destroy();
  }
}

/** Parts as small as allowed, unless there would be too many; never so large that a write takes more memory. */
function partBytesFor(maxBytes: number): number {
  const needed = Math.ceil(maxBytes / mostParts / mebibyte) * mebibyte;
  return Math.min(largestPartBytes, Math.max(smallestPartBytes, needed));
}

/**
 * Copies into buffers of one size, since the bytes are kept until their part has arrived: a source may use its memory
 * again, and one that yields a few bytes at a time would fill the memory with small objects.
 */
async function* gather(
  pieces: AsyncIterable<Uint8Array>,
  onError: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  try {
    let buffer = Buffer.allocUnsafe(pieceBytes);
    let filled = 0;
    for await (const piece of pieces) {
      const fitting = Math.min(piece.byteLength, pieceBytes - filled);
      buffer.set(piece.subarray(0, fitting), filled);
      filled += fitting;
      if (filled < pieceBytes) continue;
      yield buffer;
      buffer = Buffer.allocUnsafe(pieceBytes);
      buffer.set(piece.subarray(fitting));
      filled = piece.byteLength - fitting;
    }
    if (filled > 0) yield buffer.subarray(0, filled);
  } catch (error) {
    onError(error);
    throw error;
  }
}

interface UploadRequests {
  readonly client: S3Client;
  /** Of the multipart upload that has been begun; undefined before, and after it was completed. */
  uploadId(): string | undefined;
}

/** What Upload asks of the server. The first request that fails gives the write up. */
function uploadRequests(s3: S3Connection, giveUp: AbortController): UploadRequests {
  const { client, ask, place, timeouts } = s3;
  let uploadId: string | undefined;

  async function send(command: unknown): Promise<unknown> {
    if (command instanceof UploadPartCommand) {
      await addDigest(command);
      return ask((options) => client.send(command, options), timeouts.partMs, giveUp.signal);
    }
    // Those below are not cut off: whether they took effect would not be known.
    giveUp.signal.throwIfAborted();
    if (command instanceof PutObjectCommand) {
      await addDigest(command);
      return ask((options) => client.send(command, options), timeouts.partMs);
    }
    if (command instanceof CreateMultipartUploadCommand) {
      const created = await ask((options) => client.send(command, options));
      uploadId = created.UploadId;
      return created;
    }
    if (command instanceof CompleteMultipartUploadCommand)
      return ask((options) => client.send(command, options), timeouts.partMs);
    throw new TypeError("an upload sends what is not expected of it");
  }

  return {
    client: Object.create(client, {
      send: {
        value: (command: unknown) =>
          onS3(place, () => send(command)).catch((error) => {
            giveUp.abort(error);
            throw error;
          }),
      },
    }),
    uploadId: () => uploadId,
  };
}

/** The server compares it with what arrives. Computed apart from the event loop, which the SDK does not. */
async function addDigest(command: UploadPartCommand | PutObjectCommand): Promise<void> {
  const { Body } = command.input;
  if (!(Body instanceof Uint8Array)) throw new TypeError("a part is not in memory");
  const digest = await crypto.subtle.digest("SHA-256", Body as Uint8Array<ArrayBuffer>);
  command.input.ChecksumSHA256 = Buffer.from(digest).toString("base64");
}

function ignore(): void {}
