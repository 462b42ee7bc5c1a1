// What the parts of one run of an export share.
import type { Readable } from "node:stream";
import type { ExportScope } from "@ectus/bag";
import type { Logger } from "@ectus/core";
import type { Database } from "../database.ts";
import type { ExportClaim } from "../queries/export-work.ts";
import type { ExportPartRow, ExportPhase, ExportRow } from "../queries/exports.ts";

/** Where blobs of tenants are kept; a BlobStorage of @ectus/storage is one. */
export interface ExportStore {
  /** A chunk of `source` is the store's until it asks for the next one: then its memory is used again. */
  write(
    tenantId: string,
    blobId: string,
    source: AsyncIterable<Uint8Array>,
    options: { readonly maxBytes: number; readonly signal?: AbortSignal },
  ): Promise<{ readonly bytes: number; readonly sha256: string }>;
  read(tenantId: string, blobId: string): Promise<Readable>;
  stat(tenantId: string, blobId: string): Promise<{ readonly bytes: number }>;
  remove(tenantId: string, blobId: string): Promise<void>;
}

/** How far a run is; the worker reports it. */
export interface ExportCounts {
  phase: ExportPhase;
  rowsDone: number;
  rowsExpected: number | null;
  /** Of rows before compression, and of files. */
  bytesDone: number;
  /** Of files that are to come. */
  fileBytesExpected: number;
  /** Of rows alone, to guess what is to come. */
  rowBytesDone: number;
}

export interface ExportRun {
  readonly database: Database;
  readonly store: ExportStore;
  readonly claim: ExportClaim;
  readonly row: ExportRow;
  readonly scope: ExportScope;
  /** Files of the bag that an earlier run has written. */
  readonly earlier: readonly ExportPartRow[];
  readonly counts: ExportCounts;
  /** Bytes of rows after which a part ends. */
  readonly partBytes: number;
  /** Waits until so many bytes more may be read. */
  readonly pace: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
  readonly log: Logger;
}
