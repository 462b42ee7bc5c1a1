// Makes bags for tests, by code of its own: plain strings and node:crypto, so that a reader is not checked by what it
// shares with a writer.
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { type BagSource, layOutTar } from "@ectus/bag";
import { lookup3 } from "./lookup3.ts";

export interface TestBag {
  readonly name: string;
  /** By their paths below the bag's folder. */
  readonly files: Map<string, Buffer>;
}

export interface TestBagOptions {
  readonly format?: "ndjson" | "csv";
  readonly compression?: "none" | "gzip" | "zstd";
  /** Bodies of messages, over two parts. */
  readonly bodies?: readonly (string | null)[];
  readonly key?: TestKey;
}

const exportId = "01940000-0000-7000-8000-0000000000aa";

export type TestKey = ReturnType<typeof createTestKey>;

export function createTestKey() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const { x = "" } = publicKey.export({ format: "jwk" });
  const kid = createHash("sha256").update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest("base64url");
  return {
    public: { kty: "OKP", crv: "Ed25519", alg: "EdDSA", use: "sig", kid, x } as const,
    sign: (text: string) => sign(null, Buffer.from(text), privateKey).toString("base64url"),
  };
}

export const sha256 = (bytes: Uint8Array | string): string =>
  createHash("sha256").update(bytes).digest("hex");

/** Text that a careless reader or writer breaks. */
export const awkwardBodies: readonly (string | null)[] = [
  "plain",
  'a "quoted" word, and "',
  "two\nlines\r\nand three",
  "\\N",
  "",
  null,
  "\\u0000 \\. \t,;",
  "emoji 🦦 and é, 漢字",
  ',"\r\n",',
  `{"a":"}\\n"}`,
];

/** A bag as an export makes it: two tables of which one is empty, the audit log, two files. Signed by `key`. */
export function makeBag(options: TestBagOptions & { readonly key: TestKey }): TestBag {
  const { format = "ndjson", compression = "none", bodies = awkwardBodies, key } = options;
  const files = new Map<string, Buffer>();
  const columns = [
    { name: "id", type: "uuid", class: "identifier" },
    { name: "position", type: "int4", class: "identifier" },
    { name: "body", type: "text", class: "content" },
  ];
  const rows = bodies.map((body, index) => ({ id: uuid(index), position: index, body }));
  const middle = Math.ceil(rows.length / 2);
  const parts = [rows.slice(0, middle), rows.slice(middle)].map((some, index) =>
    addPart(files, `data/tables/messages/part-0000${index + 1}`, some, { format, compression }),
  );
  const audit = addPart(files, "data/audit/part-00001", [{ id: uuid(900), action: "key.created" }], {
    format: "ndjson",
    compression,
  });
  const fileEntries = ["first file\n", ""].map((text, index) => {
    const path = `data/files/${uuid(800 + index)}.txt`;
    files.set(path, Buffer.from(text));
    return {
      id: uuid(800 + index),
      path,
      filename: `../${index}\n.txt`,
      contentType: "text/plain",
      purpose: "assistants",
      bytes: Buffer.byteLength(text),
      sha256: sha256(text),
      createdAt: "2026-11-24T10:00:00.000Z",
    };
  });
  const table = { key: ["id"], withheld: [{ name: "tenant_id", reason: "said once" }] };
  const document = {
    format: "ectus-export",
    version: 1,
    id: exportId,
    tenant: { id: uuid(1), name: "Acme" },
    snapshotAt: "2026-11-24T10:00:00.000Z",
    software: "ectus 0.1.0",
    schemaVersion: 3,
    rowFormat: format,
    compression,
    scope: { tables: ["messages", "users"], files: true, auditLog: true },
    tables: [
      { name: "messages", ...totals(parts), columns, ...table, parts },
      { name: "users", ...totals([]), columns, ...table, parts: [] },
    ],
    withheldTables: [],
    auditLog: {
      name: "audit_log",
      ...totals([audit]),
      columns: ["id", "action"].map((name) => ({ name, type: "text", class: "operational" })),
      ...table,
      parts: [audit],
      head: { id: uuid(900), createdAt: "2026-11-24T10:00:00.000Z" },
    },
    files: fileEntries,
  };
  files.set("export.json", Buffer.from(`${JSON.stringify(document, undefined, 2)}\n`));
  const bag = { name: `acme-2026-11-24-${exportId.replaceAll("-", "")}`, files };
  seal(bag, key);
  return bag;
}

interface TestPart {
  readonly path: string;
  readonly rows: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly digest: string;
}

type TestRow = Readonly<Record<string, string | number | null>>;

/** Writes a part, and gives what export.json says of it. */
function addPart(
  files: TestBag["files"],
  stem: string,
  rows: readonly TestRow[],
  how: { readonly format: "ndjson" | "csv"; readonly compression: "none" | "gzip" | "zstd" },
): TestPart {
  const csv = how.format === "csv";
  const lines = rows.map((row) => (csv ? csvLine(Object.values(row)) : JSON.stringify(row)));
  const end = csv ? "\r\n" : "\n";
  const text = [...(csv ? ["id,position,body"] : []), ...lines].map((line) => line + end).join("");
  const path = `${stem}.${how.format}${{ none: "", gzip: ".gz", zstd: ".zst" }[how.compression]}`;
  const bytes = compress(Buffer.from(text), how.compression);
  files.set(path, bytes);
  return { path, rows: rows.length, bytes: bytes.length, sha256: sha256(bytes), digest: digestOf(lines) };
}

export function compress(bytes: Buffer, compression: "none" | "gzip" | "zstd"): Buffer {
  if (compression === "gzip") return gzipSync(bytes);
  return compression === "zstd" ? zstdCompressSync(bytes) : bytes;
}

const csvLine = (values: readonly (string | number | null)[]): string =>
  values.map((value) => (value === null ? "" : `"${String(value).replaceAll('"', '""')}"`)).join(",");

export const digestOf = (lines: readonly string[]): string =>
  hex(lines.reduce((sum, line) => sum + lookup3(Buffer.from(line)), 0n));

const hex = (sum: bigint): string => BigInt.asUintN(64, sum).toString(16).padStart(16, "0");

const totals = (parts: readonly TestPart[]) => ({
  rows: parts.reduce((sum, part) => sum + part.rows, 0),
  digest: hex(parts.reduce((sum, part) => sum + BigInt(`0x${part.digest}`), 0n)),
});

/** Makes every tag file but export.json anew from the files as they are: what a forger with no key can do, or `key` with. */
export function seal({ files }: TestBag, key: TestKey): void {
  const payload = [...files].filter(([path]) => path.startsWith("data/"));
  const bytes = payload.reduce((sum, [, { length }]) => sum + length, 0);
  files.set("bagit.txt", Buffer.from("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"));
  files.set("bag-info.txt", Buffer.from(`Payload-Oxum: ${bytes}.${payload.length}\n`));
  files.set("manifest-sha256.txt", manifest(payload));
  const tags = ["bagit.txt", "bag-info.txt", "manifest-sha256.txt", "export.json"];
  files.set(
    "tagmanifest-sha256.txt",
    manifest(tags.map((path) => [path, files.get(path) as Buffer] as const)),
  );
  const tagManifestSha256 = sha256(files.get("tagmanifest-sha256.txt") as Buffer);
  const exportJsonSha256 = sha256(files.get("export.json") as Buffer);
  const signed = {
    format: "ectus-export-signature",
    version: 1,
    alg: "EdDSA",
    kid: key.public.kid,
    x: key.public.x,
    tagManifestSha256,
    exportJsonSha256,
    signature: key.sign(`ectus-export-signature-v1\n${tagManifestSha256}\n${exportJsonSha256}\n`),
  };
  files.set("export.json.sig", Buffer.from(`${JSON.stringify(signed)}\n`));
}

const manifest = (files: readonly (readonly [string, Buffer])[]): Buffer =>
  Buffer.from(files.map(([path, bytes]) => `${sha256(bytes)}  ${path}\n`).join(""));

/** Changes export.json, and nothing else. */
export function editDocument({ files }: TestBag, edit: (document: EditableDocument) => void): void {
  const document = JSON.parse(String(files.get("export.json"))) as EditableDocument;
  edit(document);
  files.set("export.json", Buffer.from(`${JSON.stringify(document)}\n`));
}

export interface EditableDocument {
  id: string;
  scope: { tables: string[]; files: boolean };
  tables: {
    name: string;
    rows: number;
    digest: string;
    columns: { name: string }[];
    parts: { path: string; rows: number; bytes: number; sha256: string; digest: string }[];
  }[];
  files: { path: string; bytes: number; sha256: string }[] | null;
  [field: string]: unknown;
}

/** Writes a bag below a folder and gives the path of its own. */
export async function writeBag({ name, files }: TestBag, below: string): Promise<string> {
  for (const [path, bytes] of files) {
    const target = join(below, name, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, bytes);
  }
  return join(below, name);
}

const uuid = (index: number): string => `01940000-0000-7000-8000-${index.toString(16).padStart(12, "0")}`;

/** The bag as it is downloaded. Its payload has a folder also if it has no files (RFC 8493, section 2.1.2). */
export function tarOf({ name, files }: TestBag): Buffer {
  const isEmpty = ![...files.keys()].some((path) => path.startsWith("data/"));
  const all = [...files, ...(isEmpty ? [["data/", Buffer.alloc(0)] as const] : [])];
  const entries = all.map(([path, contents]) => ({
    path: `${name}/${path}`,
    bytes: contents.length,
    contents,
  }));
  const layout = layOutTar(entries, { modifiedAt: new Date(0) });
  return Buffer.concat(
    [...layout.pieces(0, layout.bytes - 1)].map((piece) =>
      piece.kind === "bytes" ? piece.bytes : piece.entry.contents.subarray(piece.start, piece.end + 1),
    ),
  );
}

/** The bag as it would be read from a disk, in chunks of a few bytes if asked. */
export function sourceOf({ name, files }: TestBag, chunkBytes = 1024 * 1024): BagSource {
  const close = async (): Promise<void> => {};
  return {
    name,
    entries: new Map([...files].map(([path, { length }]) => [path, { bytes: length }])),
    async read(path) {
      const bytes = files.get(path) ?? Buffer.alloc(0);
      const chunks = Math.ceil(bytes.length / chunkBytes);
      return Readable.from(
        Array.from({ length: chunks }, (_, index) =>
          bytes.subarray(index * chunkBytes, (index + 1) * chunkBytes),
        ),
      );
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
