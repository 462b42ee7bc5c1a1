// What a storage of blobs can do. Narrow on purpose: every operation maps to one or two calls of an S3 server.
import type { Readable } from "node:stream";

/** What a write found out about the bytes that passed. */
export interface BlobDigest {
  readonly bytes: number;
  /** SHA-256 in lower-case hexadecimal. */
  readonly sha256: string;
}

export interface WriteOptions {
  /** More than this is refused with `request_too_large`. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

/** Part of a blob, as in an HTTP Range: both ends count from 0 and belong to the part. */
export interface BlobRange {
  readonly start?: number;
  readonly end?: number;
}

/**
 * Blobs of tenants. Tenant and blob ids are UUIDs in lower case; any other id is refused with `storage_error` before
 * anything is touched, so that no id can name something outside its tenant's part.
 */
export interface BlobStorage {
  /**
   * Stores what `source` yields, under backpressure. When this resolves, the blob is whole and durable; when it
   * rejects, what was there before is unchanged. An existing blob is replaced at once. Takes the source over: it is
   * destroyed on failure.
   *
   * @throws EctusError `request_too_large`, `storage_full` or `storage_error`; what the source or the signal threw
   */
  write(
    tenantId: string,
    blobId: string,
    source: AsyncIterable<Uint8Array>,
    options: WriteOptions,
  ): Promise<BlobDigest>;
  /**
   * The blob's bytes. The caller reads the stream to its end or destroys it. A range that starts past the end is empty.
   *
   * @throws EctusError `not_found` or `storage_error`
   */
  read(tenantId: string, blobId: string, range?: BlobRange): Promise<Readable>;
  /** Length of the blob. @throws EctusError `not_found` or `storage_error` */
  stat(tenantId: string, blobId: string): Promise<{ readonly bytes: number }>;
  /** Removes the blob durably; nothing happens if there is none. */
  remove(tenantId: string, blobId: string): Promise<void>;
  /** Ids of the tenant's blobs in any order. */
  list(tenantId: string): AsyncIterable<string>;
  /**
   * Removes what writes that never ended left behind, if it was last written to before `before`, and returns how many
   * there were.
   */
  removeUnfinished(before: Date): Promise<number>;
}
