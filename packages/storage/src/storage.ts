// What a storage of blobs can do. Narrow on purpose: it is what a folder and an S3 server both can.
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

/** A blob that is open for reading. Who opened it closes it. */
export interface BlobReader {
  /** Length of the blob. */
  readonly bytes: number;
  /** Fills the buffer from a position of the blob on, and gives how many bytes there were: less at its end. */
  read(into: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

/**
 * Blobs of tenants. Tenant and blob ids are UUIDs in lower case; any other id is refused with `storage_error` before
 * anything is touched, so that no id can name something outside its tenant's part.
 */
export interface BlobStorage {
  /**
   * Stores what `source` yields, under backpressure. When this resolves, the blob is whole and durable; when it
   * rejects, what was there before is unchanged. An existing blob is replaced at once. Takes the source over: it is
   * destroyed on failure. The source may use the memory of a chunk again once it is asked for the next.
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
  /**
   * Opens the blob for reads into memory of the caller's: where many bytes pass, new memory for each chunk costs more
   * than the bytes. Left out by storages that have streams alone.
   *
   * @throws EctusError `not_found` or `storage_error`
   */
  open?(tenantId: string, blobId: string): Promise<BlobReader>;
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
