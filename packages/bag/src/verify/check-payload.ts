// Checks the payload, each file in one pass: that exactly the files are there that the manifest and export.json list,
// and that each is as they say.
import type {
  ExportDocument,
  ExportedFile,
  ExportedPart,
  ExportedTable,
  RowFormat,
} from "../export-document.ts";
import { printable } from "../printable.ts";
import { type CheckedTagFiles, isPayload } from "./check-tag-files.ts";
import { and } from "./fault-list.ts";
import { createPartCheck } from "./part-check.ts";
import { type ReadContext, readFile } from "./read-file.ts";

export interface PayloadLimits {
  readonly mostRowBytes?: number;
}

type Listed =
  | { readonly kind: "file"; readonly file: ExportedFile }
  | {
      readonly kind: "part";
      readonly file: ExportedPart;
      readonly table: ExportedTable;
      readonly format: RowFormat;
    };

const manifestName = "manifest-sha256.txt";
const documentName = "export.json";

/** Gives how many rows were read. */
export async function checkPayload(
  context: ReadContext,
  { manifest, document }: Pick<CheckedTagFiles, "manifest" | "document">,
  limits: PayloadLimits = {},
): Promise<number> {
  const { source, faults } = context;
  const listed = document && listedIn(document);
  const lists = [
    ...(manifest ? [{ name: manifestName, has: (path: string) => manifest.has(path) }] : []),
    ...(listed ? [{ name: documentName, has: (path: string) => listed.has(path) }] : []),
  ];
  for (const path of new Set([...(manifest?.keys() ?? []), ...(listed?.keys() ?? [])])) {
    const by = lists.filter(({ has }) => has(path)).map(({ name }) => name);
    if (!isPayload(path))
      faults.add(
        "manifest_invalid",
        manifestName,
        `it lists ${printable(path)}, which is not in the folder data`,
      );
    else if (!source.entries.has(path))
      faults.add("missing_file", path, `it is missing; ${and(by)} ${by.length > 1 ? "list" : "lists"} it`);
  }
  let rows = 0;
  for (const path of source.entries.keys()) {
    if (!isPayload(path)) continue;
    const not = lists.filter(({ has }) => !has(path)).map(({ name }) => name);
    if (not.length > 0)
      faults.add("unexpected_file", path, `${and(not)} ${not.length > 1 ? "do" : "does"} not list it`);
    rows += await checkFile(context, path, {
      sha256: manifest?.get(path),
      listed: listed?.get(path),
      document,
      limits,
    });
  }
  return rows;
}

function listedIn(document: ExportDocument): ReadonlyMap<string, Listed> {
  const listed = new Map<string, Listed>();
  for (const file of document.files ?? []) listed.set(file.path, { kind: "file", file });
  for (const table of document.tables)
    for (const part of table.parts)
      listed.set(part.path, { kind: "part", file: part, table, format: document.rowFormat });
  for (const part of document.auditLog?.parts ?? [])
    if (document.auditLog !== null)
      listed.set(part.path, { kind: "part", file: part, table: document.auditLog, format: "ndjson" });
  return listed;
}

interface Expected {
  /** That of the manifest. */
  readonly sha256: string | undefined;
  readonly listed: Listed | undefined;
  readonly document: ExportDocument | undefined;
  readonly limits: PayloadLimits;
}

async function checkFile(
  context: ReadContext,
  path: string,
  { sha256, listed, document, limits }: Expected,
): Promise<number> {
  const { source, faults, signal } = context;
  const bytes = source.entries.get(path)?.bytes;
  if (listed !== undefined && listed.file.bytes !== bytes)
    faults.add("size_differs", path, `${bytes} bytes where ${documentName} says ${listed.file.bytes}`);
  const part =
    listed?.kind === "part" && document
      ? createPartCheck({
          table: listed.table,
          part: listed.file,
          format: listed.format,
          compression: document.compression,
          faults,
          signal,
          ...limits,
        })
      : undefined;
  try {
    const found = await readFile(context, path, (chunk) => part?.write(chunk));
    if (found === undefined) return 0;
    const expected = [
      ...(sha256 === undefined ? [] : [{ name: manifestName, sha256 }]),
      ...(listed === undefined ? [] : [{ name: documentName, sha256: listed.file.sha256 }]),
    ].filter((one) => one.sha256 !== found);
    if (expected[0] !== undefined) {
      const names = expected.map(({ name }) => name);
      faults.add("digest_differs", path, `its SHA-256 is ${found}, not the one in ${and(names)}`);
    }
    return (await part?.end()) ?? 0;
  } finally {
    part?.destroy();
  }
}
