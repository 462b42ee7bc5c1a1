// Blobs in a bucket of an S3 server: one object a blob, <prefix>/<tenant id>/<blob id>. An object appears whole or not
// at all, and replaces another at once; that is the server's promise.
import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  type MultipartUpload,
} from "@aws-sdk/client-s3";
import { EctusError } from "@ectus/core";
import { checkId, checkRange, isId } from "./blob-ids.ts";
import { createPartBuffers } from "./part-buffers.ts";
import { connectS3, defaultTimeouts, onS3, type S3Connection, type S3Timeouts } from "./s3-connection.ts";
import { codeOf, statusOf, storageErrorOf } from "./s3-errors.ts";
import { S3ReadStream } from "./s3-read-stream.ts";
import { parseS3Url, type S3Place } from "./s3-url.ts";
import { mostPartsOnTheirWay, smallestPartBytes, writeToS3 } from "./s3-write.ts";
import type { BlobRange, BlobStorage } from "./storage.ts";

/**
 * Opens the bucket, which has to be there. Its connections do not keep the process alive.
 *
 * @param url `s3://bucket/prefix?region=…&endpoint=https://…&path_style=true`, all but the bucket optional
 * @param environment AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION; what is not there comes
 *   from where the SDK looks: its files, or the role of the container or machine
 * @throws EctusError `invalid_config` for a URL that is not one of these, `storage_error` when the bucket cannot be used
 */
export async function createS3Storage(
  url: URL,
  environment: NodeJS.ProcessEnv,
  timeouts: S3Timeouts = defaultTimeouts,
): Promise<BlobStorage> {
  const place = parseS3Url(url);
  const s3 = connectS3(place, environment, timeouts);
  const buffers = createPartBuffers(smallestPartBytes, mostFreeBuffers);
  const { client, ask } = s3;
  const Bucket = place.bucket;
  await onS3(place, () => checkBucket(s3));

  return {
    async write(tenantId, blobId, source, options) {
      let key: string;
      try {
        key = keyOf(place, tenantId, blobId);
      } catch (error) {
        if (source instanceof Readable) source.on("error", () => {}).destroy();
        throw error;
      }
      return writeToS3(s3, buffers, key, source, options);
    },

    read(tenantId, blobId, range = {}) {
      return onS3(place, async () => {
        checkRange(range);
        return read(s3, keyOf(place, tenantId, blobId), blobId, range);
      });
    },

    stat(tenantId, blobId) {
      return onS3(place, async () => {
        const Key = keyOf(place, tenantId, blobId);
        try {
          const head = new HeadObjectCommand({ Bucket, Key });
          const { ContentLength } = await ask((options) => client.send(head, options));
          if (ContentLength === undefined) throw new Error("the answer names no length");
          return { bytes: ContentLength };
        } catch (error) {
          if (statusOf(error) !== 404) throw error;
          // This answer has no body that would tell a blob that is missing from a bucket that is.
          await checkBucket(s3);
          throw missing(blobId);
        }
      });
    },

    remove(tenantId, blobId) {
      return onS3(place, async () => {
        const Key = keyOf(place, tenantId, blobId);
        try {
          await ask((options) => client.send(new DeleteObjectCommand({ Bucket, Key }), options));
        } catch (error) {
          if (codeOf(error) !== "NoSuchKey") throw error;
        }
      });
    },

    async *list(tenantId) {
      const Prefix = `${place.prefix}${checkId(tenantId)}/`;
      let ContinuationToken: string | undefined;
      do {
        const page = await onS3(place, () =>
          ask((options) =>
            client.send(new ListObjectsV2Command({ Bucket, Prefix, ContinuationToken }), options),
          ),
        );
        for (const { Key = "" } of page.Contents ?? []) {
          const name = Key.slice(Prefix.length);
          if (isId(name)) yield name;
        }
        ContinuationToken = nextPage(ContinuationToken, page.IsTruncated, page.NextContinuationToken, place);
      } while (ContinuationToken !== undefined);
    },

    removeUnfinished: (before) => onS3(place, () => removeUnfinished(s3, before)),
  };
}

// Of two writes: a part of an export is begun while the one before it is made durable.
const mostFreeBuffers = 2 * mostPartsOnTheirWay;

async function checkBucket({ place, client, ask }: S3Connection): Promise<void> {
  const Bucket = place.bucket;
  try {
    await ask((options) => client.send(new HeadBucketCommand({ Bucket }), options));
  } catch (error) {
    // An answer to HEAD has no body, hence no reason. This one has.
    if (statusOf(error) !== undefined)
      await ask((options) => client.send(new ListObjectsV2Command({ Bucket, MaxKeys: 1 }), options));
    throw error;
  }
}

async function read(
  { place, client, ask, timeouts }: S3Connection,
  Key: string,
  blobId: string,
  range: BlobRange,
): Promise<Readable> {
  const isPart = range.start !== undefined || range.end !== undefined;
  const Range = isPart ? `bytes=${range.start ?? 0}-${range.end ?? ""}` : undefined;
  let answer: GetObjectCommandOutput;
  try {
    answer = await ask((options) =>
      client.send(new GetObjectCommand({ Bucket: place.bucket, Key, Range }), options),
    );
  } catch (error) {
    if (codeOf(error) === "NoSuchKey") throw missing(blobId);
    // It starts past the end.
    if (statusOf(error) === 416) return Readable.from([], { objectMode: false });
    throw error;
  }
  const { Body, ContentLength, ContentRange } = answer;
  if (!(Body instanceof Readable)) throw new Error("the answer has no body");
  const stream = new S3ReadStream(Body, {
    expectedBytes: ContentLength,
    idleMs: timeouts.idleMs,
    errorOf: (error) => storageErrorOf(error, place),
  });
  // An empty blob has no range, and all of it is what was asked for.
  if (!isPart || ContentLength === 0 || isPartOf(range, ContentRange)) return stream;
  stream.on("error", () => {}).destroy();
  throw new Error("the answer is not the part that was asked for");
}

/** Whether a Content-Range, as in `bytes 0-99/1234`, is all that a blob has of a range. */
function isPartOf({ start = 0, end = Number.MAX_SAFE_INTEGER }: BlobRange, contentRange = ""): boolean {
  const [first, last, bytes] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(contentRange) ?? []).slice(1).map(Number);
  return first === start && bytes !== undefined && last === Math.min(end, bytes - 1);
}

async function removeUnfinished(s3: S3Connection, before: Date): Promise<number> {
  const { place, client, ask } = s3;
  const Bucket = place.bucket;
  let removed = 0;
  for await (const { Key = "", UploadId, Initiated } of openUploads(s3)) {
    if (UploadId === undefined || !isBlobKey(place, Key)) continue;
    if (Initiated === undefined || Initiated >= before) continue;
    try {
      if (await hasPartSince(s3, { Bucket, Key, UploadId }, before)) continue;
      const abort = new AbortMultipartUploadCommand({ Bucket, Key, UploadId });
      await ask((options) => client.send(abort, options));
      removed += 1;
    } catch (error) {
      // It has ended meanwhile.
      if (codeOf(error) !== "NoSuchUpload") throw error;
    }
  }
  return removed;
}

async function* openUploads({ place, client, ask }: S3Connection): AsyncGenerator<MultipartUpload> {
  const { bucket: Bucket, prefix: Prefix } = place;
  let marker: { readonly KeyMarker?: string; readonly UploadIdMarker?: string } | undefined = {};
  while (marker !== undefined) {
    const command: ListMultipartUploadsCommand = new ListMultipartUploadsCommand({
      Bucket,
      Prefix,
      ...marker,
    });
    const page = await ask((options) => client.send(command, options));
    yield* page.Uploads ?? [];
    const { NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = page;
    const token = nextPage(
      JSON.stringify(marker),
      page.IsTruncated,
      JSON.stringify({ KeyMarker, UploadIdMarker }),
      place,
    );
    marker = token === undefined ? undefined : JSON.parse(token);
  }
}

/** One that takes longer than others is still being written to. */
async function hasPartSince(
  { place, client, ask }: S3Connection,
  upload: { readonly Bucket: string; readonly Key: string; readonly UploadId: string },
  since: Date,
): Promise<boolean> {
  let PartNumberMarker: string | undefined;
  do {
    const command: ListPartsCommand = new ListPartsCommand({ ...upload, PartNumberMarker });
    const page = await ask((options) => client.send(command, options));
    if (page.Parts?.some(({ LastModified }) => LastModified !== undefined && LastModified >= since))
      return true;
    PartNumberMarker = nextPage(PartNumberMarker, page.IsTruncated, page.NextPartNumberMarker, place);
  } while (PartNumberMarker !== undefined);
  return false;
}

/** Where the next page begins; undefined after the last. One that begins where this one did would go on for ever. */
function nextPage(
  current: string | undefined,
  isTruncated: boolean | undefined,
  next: string | undefined,
  place: S3Place,
): string | undefined {
  if (isTruncated !== true) return undefined;
  if (next !== undefined && next !== current) return next;
  throw storageErrorOf(new Error("a list has no next page although it is not whole"), place);
}

function keyOf({ prefix }: S3Place, tenantId: string, blobId: string): string {
  return `${prefix}${checkId(tenantId)}/${checkId(blobId)}`;
}

function isBlobKey({ prefix }: S3Place, key: string): boolean {
  const [tenantId = "", blobId = "", ...rest] = key.slice(prefix.length).split("/");
  return key.startsWith(prefix) && rest.length === 0 && isId(tenantId) && isId(blobId);
}

function missing(id: string): EctusError {
  return new EctusError("not_found", { what: "file", id });
}
