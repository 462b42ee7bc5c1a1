// Builds the contents of a bag from a tenant's rows, apart from the program's own export: its lists of columns and its CSV
// are written here by hand, and lines are digested as texts that the database is given.
import { createHash, randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type {
  Compression,
  ExportDocument,
  ExportedFile,
  ExportedPart,
  ExportedTable,
  RowFormat,
} from "@ectus/bag";
import type pg from "pg";

export interface BagOfTenant {
  readonly document: ExportDocument;
  /** By path. */
  readonly files: Map<string, Buffer>;
}

export interface BagOptions {
  readonly format?: RowFormat;
  readonly compression?: Compression;
  readonly rowsPerPart?: number;
  readonly tables?: readonly string[];
  readonly auditLog?: boolean;
  /** Contents of files by id; null leaves them out. */
  readonly contents?: ReadonlyMap<string, Buffer> | null;
}

const keys: Readonly<Record<string, readonly string[]>> = {
  tenants: [],
  api_keys: ["id"],
  users: ["id"],
  completions: ["id"],
  messages: ["completion_id", "position"],
  files: ["id"],
  usage: ["id", "created_at"],
  token_budgets: ["month"],
};
const auditKey = ["id", "created_at"];
const notExported = ["tenant_id", "digest"];

export const tablesOfBags = Object.keys(keys);

/** The session of `owner` is changed to the settings that an export reads with. */
export async function bagOfTenant(
  owner: pg.Client,
  tenantId: string,
  options: BagOptions = {},
): Promise<BagOfTenant> {
  const { format = "ndjson", compression = "none", tables = tablesOfBags, auditLog = true } = options;
  await owner.query("set timezone = 'UTC'; set datestyle = 'ISO'; set bytea_output = 'hex'");
  const files = new Map<string, Buffer>();
  const tenant = await owner.query("select name from tenants where id = $1", [tenantId]);
  const version = await owner.query("select max(version) as version from schema_migrations");
  const built: ExportedTable[] = [];
  for (const name of tables) built.push(await tableOf(owner, tenantId, name, format, options, files));
  const audit = auditLog ? await tableOf(owner, tenantId, "audit_log", "ndjson", options, files) : null;
  const document: ExportDocument = {
    format: "ectus-export",
    version: 1,
    id: randomUUID(),
    tenant: { id: tenantId, name: tenant.rows[0].name },
    snapshotAt: new Date().toISOString(),
    software: "a test",
    schemaVersion: version.rows[0].version,
    rowFormat: format,
    compression,
    scope: { tables, files: options.contents !== null, auditLog },
    tables: built,
    withheldTables: [],
    auditLog: audit === null ? null : { ...audit, head: null },
    files: options.contents === null ? null : await filesOf(owner, tenantId, options, files),
  };
  files.set("tagmanifest-sha256.txt", Buffer.from("a tag manifest"));
  return { document, files };
}

/** As the source of a bag gives its files. */
export const sourceOf = ({ files }: BagOfTenant) => ({
  async read(path: string): Promise<Readable> {
    const bytes = files.get(path);
    if (bytes === undefined) throw new Error(`the bag has no ${path}`);
    return Readable.from(inPieces(bytes));
  },
});

function* inPieces(bytes: Buffer): Generator<Buffer> {
  // Cut within rows, quotes and characters.
  for (let at = 0; at < bytes.length; at += 997) yield bytes.subarray(at, at + 997);
}

async function tableOf(
  owner: pg.Client,
  tenantId: string,
  name: string,
  format: RowFormat,
  { compression = "none", rowsPerPart = 1_000 }: BagOptions,
  files: Map<string, Buffer>,
): Promise<ExportedTable> {
  const key = name === "audit_log" ? auditKey : (keys[name] ?? []);
  const known = await owner.query(
    "select attname as name, t.typname as type from pg_attribute a join pg_type t on t.oid = a.atttypid where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum",
    [name],
  );
  const exported = known.rows.filter((column) => !notExported.includes(column.name));
  const columns = (name === "tenants" ? exported.filter((column) => column.name !== "id") : exported)
    .map((column) => ({ name: column.name as string, type: column.type as string, class: "operational" }))
    .sort((one, other) => place(key, one.name) - place(key, other.name));
  const lines = await linesOf(owner, tenantId, name, format, key, columns);
  const parts: ExportedPart[] = [];
  for (let at = 0; at < lines.length; at += rowsPerPart) {
    const some = lines.slice(at, at + rowsPerPart);
    const head = columns.map((column) => column.name).join(",");
    const text =
      format === "csv" ? [head, ...some].map((line) => `${line}\r\n`) : some.map((line) => `${line}\n`);
    const bytes = compress(Buffer.from(text.join("")), compression);
    const number = String(parts.length + 1).padStart(5, "0");
    const folder = name === "audit_log" ? "data/audit" : `data/tables/${name}`;
    const path = `${folder}/part-${number}.${format}${endings[compression]}`;
    files.set(path, bytes);
    const digest = await digestOf(owner, some);
    parts.push({ path, rows: some.length, bytes: bytes.length, sha256: sha256(bytes), digest });
  }
  return {
    name,
    rows: lines.length,
    digest: await digestOf(owner, lines),
    columns,
    key,
    withheld: [],
    parts,
  };
}

const place = (key: readonly string[], name: string): number => (key.includes(name) ? key.indexOf(name) : 99);
const endings = { none: "", gzip: ".gz", zstd: ".zst" } as const;
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

function compress(bytes: Buffer, compression: Compression): Buffer {
  if (compression === "none") return bytes;
  return compression === "gzip" ? gzipSync(bytes) : zstdCompressSync(bytes);
}

async function linesOf(
  owner: pg.Client,
  tenantId: string,
  name: string,
  format: RowFormat,
  key: readonly string[],
  columns: readonly { readonly name: string }[],
): Promise<string[]> {
  const order = key.length > 0 ? `order by ${key.join(", ")}` : "";
  const from = `from ${name} where ${name === "tenants" ? "id" : "tenant_id"} = '${tenantId}' ${order}`;
  const names = columns.map((column) => column.name);
  if (format === "ndjson") {
    const found = await owner.query(
      `select row_to_json(x)::text as line from (select ${names.join(", ")} ${from}) x`,
    );
    return found.rows.map(({ line }) => line);
  }
  const found = await owner.query({
    text: `select ${names.map((column) => `${column}::text`).join(", ")} ${from}`,
    rowMode: "array",
  });
  return (found.rows as (string | null)[][]).map((row) =>
    row.map((value) => (value === null ? "" : `"${value.replaceAll('"', '""')}"`)).join(","),
  );
}

async function digestOf(owner: pg.Client, lines: readonly string[]): Promise<string> {
  const { rows } = await owner.query(
    `select coalesce(sum(hashtextextended(line, 0)), 0)::text as sum from unnest($1::text[]) line`,
    [lines],
  );
  return BigInt.asUintN(64, BigInt(rows[0].sum)).toString(16).padStart(16, "0");
}

async function filesOf(
  owner: pg.Client,
  tenantId: string,
  { contents }: BagOptions,
  files: Map<string, Buffer>,
): Promise<ExportedFile[]> {
  const { rows } = await owner.query("select * from files where tenant_id = $1 order by id", [tenantId]);
  return rows.flatMap((row) => {
    const bytes = contents?.get(row.id);
    if (bytes === undefined) return [];
    const path = `data/files/${row.id}.bin`;
    files.set(path, bytes);
    return {
      id: row.id,
      path,
      filename: row.filename,
      contentType: row.content_type,
      purpose: row.purpose,
      bytes: bytes.length,
      sha256: sha256(bytes),
      createdAt: String(row.created_at),
    };
  });
}
