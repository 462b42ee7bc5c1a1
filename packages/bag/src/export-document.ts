// What export.json says: everything that is in a bag, and what was left out and why. Written by the export, read by
// whoever checks or imports the bag.

export type RowFormat = "ndjson" | "csv";
export type Compression = "none" | "gzip" | "zstd";

/** What of a tenant's data an export has. */
export interface ExportScope {
  /** Tables, without the audit log. */
  readonly tables: readonly string[];
  readonly files: boolean;
  readonly auditLog: boolean;
  /** RFC 3339; rows from then on. */
  readonly from?: string;
  /** RFC 3339; rows before then. */
  readonly to?: string;
  /** Only rows about this person: an end user of completions, or a user's id or e-mail address. */
  readonly subject?: string;
}

export interface ExportedColumn {
  readonly name: string;
  /** PostgreSQL's name of its type. */
  readonly type: string;
  readonly class: string;
}

export interface ExportedPart {
  /** Below the bag's folder, with slashes. */
  readonly path: string;
  readonly rows: number;
  /** As it is in the bag, compressed. */
  readonly bytes: number;
  /** SHA-256 in lower-case hexadecimal. */
  readonly sha256: string;
  /** Of its rows: see `RowDigest`. */
  readonly digest: string;
}

export interface ExportedTable {
  readonly name: string;
  readonly rows: number;
  /** Of its rows, and so of its parts': see `RowDigest`. */
  readonly digest: string;
  /** In the order in which each row has them. */
  readonly columns: readonly ExportedColumn[];
  /** Columns by which rows are ordered and told apart; the first of `columns`. */
  readonly key: readonly string[];
  readonly withheld: readonly Withheld[];
  readonly parts: readonly ExportedPart[];
}

export interface Withheld {
  readonly name: string;
  readonly reason: string;
}

export interface ExportedFile {
  readonly id: string;
  readonly path: string;
  /** As it was given, any characters. Never a path. */
  readonly filename: string;
  readonly contentType: string;
  readonly purpose: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly createdAt: string;
}

export interface AuditHead {
  readonly id: string;
  readonly createdAt: string;
}

export interface ExportDocument {
  readonly format: "ectus-export";
  readonly version: 1;
  readonly id: string;
  readonly tenant: { readonly id: string; readonly name: string };
  /** When the snapshot was taken that all of it is from; RFC 3339. */
  readonly snapshotAt: string;
  readonly software: string;
  /** Of the database: the number of its last migration. */
  readonly schemaVersion: number;
  readonly rowFormat: RowFormat;
  readonly compression: Compression;
  readonly scope: ExportScope;
  readonly tables: readonly ExportedTable[];
  /** Tables that are the tenant's and that no export has. */
  readonly withheldTables: readonly Withheld[];
  /** The audit log, always as NDJSON; null if the scope leaves it out. */
  readonly auditLog: (ExportedTable & { readonly head: AuditHead | null }) | null;
  /** Null if the scope leaves them out. */
  readonly files: readonly ExportedFile[] | null;
}

/** What a row digest is, for whoever reads export.json without this program. */
export const digestDescription =
  "Sum modulo 2^64 of PostgreSQL's hashtextextended(line, 0) over the rows, in 16 hexadecimal digits; a line is a row as it is in a part, uncompressed, without its line end. The header of a CSV part is no row.";
