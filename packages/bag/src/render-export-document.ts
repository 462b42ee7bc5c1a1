// Writes export.json as a stream: there may be a hundred thousand files to name. The same document always gives the
// same bytes.
import { EctusError } from "@ectus/core";
import {
  digestDescription,
  type ExportDocument,
  type ExportedFile,
  type ExportedTable,
  type ExportScope,
} from "./export-document.ts";

/** All but the files, which come one by one. */
export type ExportHead = Omit<ExportDocument, "files">;

const chunkCharacters = 64 * 1024;

/**
 * The bytes of export.json: the head indented for people, then a line a file.
 *
 * @param files null if the scope leaves them out
 * @throws EctusError `export_incomplete` if a name is none that the document can hold
 */
export async function* renderExportDocument(
  head: ExportHead,
  files: AsyncIterable<ExportedFile> | null,
): AsyncGenerator<Buffer, void, undefined> {
  // What is left to write at its end is the brace.
  let text = JSON.stringify(orderHead(head), undefined, 2).slice(0, -"\n}".length);
  if (files === null) {
    yield Buffer.from(`${text},\n  "files": null\n}\n`);
    return;
  }
  text += `,\n  "files": [`;
  let any = false;
  for await (const file of files) {
    text += `${any ? "," : ""}\n    ${fileLine(file)}`;
    any = true;
    if (text.length < chunkCharacters) continue;
    yield Buffer.from(text);
    text = "";
  }
  yield Buffer.from(`${text}${any ? "\n  " : ""}]\n}\n`);
}

function fileLine(file: ExportedFile): string {
  const { id, path, filename, contentType, purpose, bytes, sha256, createdAt } = file;
  if (![filename, contentType, purpose].every((text) => text.isWellFormed()))
    throw new EctusError("export_incomplete", { reason: `the name of file ${id} is no Unicode text` });
  return JSON.stringify({ id, path, filename, contentType, purpose, bytes, sha256, createdAt });
}

/** All fields of T, so that none is forgotten here. */
type Fields<T> = { readonly [Name in keyof Required<T>]: unknown };

/** The order of the fields, whatever order they came in. */
function orderHead(head: ExportHead): Fields<ExportHead> {
  return {
    format: head.format,
    version: head.version,
    id: head.id,
    tenant: { id: head.tenant.id, name: head.tenant.name },
    snapshotAt: head.snapshotAt,
    software: head.software,
    schemaVersion: head.schemaVersion,
    rowFormat: head.rowFormat,
    compression: head.compression,
    scope: orderScope(head.scope),
    ...{ digestDescription },
    tables: head.tables.map(orderTable),
    withheldTables: head.withheldTables.map(({ name, reason }) => ({ name, reason })),
    auditLog: head.auditLog && {
      ...orderTable(head.auditLog),
      head: head.auditLog.head && { id: head.auditLog.head.id, createdAt: head.auditLog.head.createdAt },
    },
  };
}

const orderScope = (scope: ExportScope): Fields<ExportScope> => ({
  tables: scope.tables,
  files: scope.files,
  auditLog: scope.auditLog,
  from: scope.from,
  to: scope.to,
  subject: scope.subject,
});

const orderTable = ({
  name,
  rows,
  digest,
  columns,
  key,
  withheld,
  parts,
}: ExportedTable): Fields<ExportedTable> => ({
  name,
  rows,
  digest,
  columns: columns.map((column) => ({ name: column.name, type: column.type, class: column.class })),
  key,
  withheld: withheld.map(({ name, reason }) => ({ name, reason })),
  parts: parts.map(({ path, rows, bytes, sha256, digest }) => ({ path, rows, bytes, sha256, digest })),
});
