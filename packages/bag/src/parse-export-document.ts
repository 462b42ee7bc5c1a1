// Reads export.json of whoever made it: checks that it has the shape and the limits of an export, and says at which
// field it does not. Fields that this version does not know are left out.
import { EctusError } from "@ectus/core";
import { pathFault } from "./bag-path.ts";
import type {
  AuditHead,
  ExportDocument,
  ExportedColumn,
  ExportedFile,
  ExportedPart,
  ExportedTable,
  ExportScope,
  Withheld,
} from "./export-document.ts";
import * as read from "./json-fields.ts";
import { JsonFault } from "./json-fields.ts";
import { printable } from "./printable.ts";

const version = 1;
/** About a million files. */
const mostBytes = 256 * 1024 * 1024;
/** Of text for each object or list, beyond the first million; an export has more than twice as many. */
const fewestCharacters = 32;
const mostObjectsAnyway = 1_000_000;

/**
 * @param json text or bytes of export.json
 * @throws EctusError `bag_invalid` that names the first field that is wrong
 */
export function parseExportDocument(json: string | Uint8Array): ExportDocument {
  try {
    return readDocument(read.object(parseJson(json), "it"));
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    throw new EctusError("bag_invalid", { reason: `export.json: ${error.message}.` });
  }
}

function parseJson(json: string | Uint8Array): unknown {
  if (json.length > mostBytes) throw new JsonFault(`it is larger than ${mostBytes} bytes`);
  const text = typeof json === "string" ? json : decodeText(json);
  if (text.startsWith("\ufeff")) throw new JsonFault("it begins with a byte order mark");
  if (hasTooManyObjects(text))
    throw new JsonFault("it has more objects and lists than an export of its size");
  try {
    return JSON.parse(text);
  } catch {
    // The engine's message quotes what it found, which may be anything.
    throw new JsonFault("it is not JSON");
  }
}

/** Empty lists alone would take 25 times the bytes of their text. */
function hasTooManyObjects(text: string): boolean {
  let left = mostObjectsAnyway + text.length / fewestCharacters;
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at);
    if (character === quote) isQuoted = !isQuoted;
    else if (isQuoted && character === backslash) at++;
    else if (!isQuoted && (character === brace || character === bracket) && --left < 0) return true;
  }
  return false;
}

const quote = 0x22;
const backslash = 0x5c;
const bracket = 0x5b;
const brace = 0x7b;

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new JsonFault("it is not UTF-8");
  }
}

function readDocument(it: read.Fields): ExportDocument {
  if (it.format !== "ectus-export") throw new JsonFault('its format is not "ectus-export"');
  const made = read.count(it.version, "version");
  if (made > version)
    throw new JsonFault(
      `its version is ${made}: it was made by a newer version of this program, which reads up to ${version}`,
    );
  if (made !== version) throw new JsonFault(`its version is ${made}, not ${version}`);
  const tenant = read.object(it.tenant, "tenant");
  const document: ExportDocument = {
    format: "ectus-export",
    version,
    id: read.uuid(it.id, "id"),
    tenant: { id: read.uuid(tenant.id, "tenant.id"), name: read.text(tenant.name, "tenant.name") },
    snapshotAt: read.time(it.snapshotAt, "snapshotAt"),
    software: read.text(it.software, "software"),
    schemaVersion: read.count(it.schemaVersion, "schemaVersion"),
    rowFormat: read.oneOf(it.rowFormat, ["ndjson", "csv"], "rowFormat"),
    compression: read.oneOf(it.compression, ["none", "gzip", "zstd"], "compression"),
    scope: readScope(read.object(it.scope, "scope")),
    tables: read.list(it.tables, "tables", readTable),
    withheldTables: read.list(it.withheldTables, "withheldTables", readWithheld),
    auditLog: it.auditLog === null ? null : readAuditLog(it.auditLog),
    files: it.files === null ? null : read.list(it.files, "files", readFile),
  };
  refuseTwice("tables", document.tables, ({ name }) => name);
  refuseTwice("files", document.files ?? [], ({ id }) => id);
  const parts = [...document.tables, ...(document.auditLog === null ? [] : [document.auditLog])];
  refuseTwice(
    "paths",
    [...parts.flatMap((table) => table.parts), ...(document.files ?? [])],
    ({ path }) => path,
  );
  return document;
}

function readScope({ tables, files, auditLog, from, to, subject }: read.Fields): ExportScope {
  return {
    tables: read.list(tables, "scope.tables", read.identifier),
    files: read.flag(files, "scope.files"),
    auditLog: read.flag(auditLog, "scope.auditLog"),
    ...(from === undefined ? {} : { from: read.time(from, "scope.from") }),
    ...(to === undefined ? {} : { to: read.time(to, "scope.to") }),
    ...(subject === undefined ? {} : { subject: read.text(subject, "scope.subject") }),
  };
}

function readTable(value: unknown, at: string): ExportedTable {
  const it = read.object(value, at);
  const table: ExportedTable = {
    name: read.identifier(it.name, `${at}.name`),
    rows: read.count(it.rows, `${at}.rows`),
    digest: read.hex(it.digest, `${at}.digest`, 16),
    columns: read.list(it.columns, `${at}.columns`, readColumn),
    key: read.list(it.key, `${at}.key`, read.identifier),
    withheld: read.list(it.withheld, `${at}.withheld`, readWithheld),
    parts: read.list(it.parts, `${at}.parts`, readPart),
  };
  refuseTwice(`${at}.columns`, [...table.columns, ...table.withheld], ({ name }) => name);
  const wrong = table.key.findIndex((name, index) => table.columns[index]?.name !== name);
  if (wrong !== -1)
    throw new JsonFault(`${at}.key[${wrong}] is not the column at its place in ${at}.columns`);
  return table;
}

function readAuditLog(value: unknown): ExportedTable & { readonly head: AuditHead | null } {
  const { head } = read.object(value, "auditLog");
  const table = readTable(value, "auditLog");
  if (head === null) return { ...table, head };
  const { id, createdAt } = read.object(head, "auditLog.head");
  return {
    ...table,
    head: {
      id: read.uuid(id, "auditLog.head.id"),
      createdAt: read.time(createdAt, "auditLog.head.createdAt"),
    },
  };
}

function readColumn(value: unknown, at: string): ExportedColumn {
  const it = read.object(value, at);
  return {
    name: read.identifier(it.name, `${at}.name`),
    type: read.text(it.type, `${at}.type`),
    class: read.text(it.class, `${at}.class`),
  };
}

function readWithheld(value: unknown, at: string): Withheld {
  const it = read.object(value, at);
  return { name: read.identifier(it.name, `${at}.name`), reason: read.text(it.reason, `${at}.reason`) };
}

function readPart(value: unknown, at: string): ExportedPart {
  const it = read.object(value, at);
  return {
    path: payloadPath(it.path, `${at}.path`),
    rows: read.count(it.rows, `${at}.rows`),
    bytes: read.count(it.bytes, `${at}.bytes`),
    sha256: read.hex(it.sha256, `${at}.sha256`, 64),
    digest: read.hex(it.digest, `${at}.digest`, 16),
  };
}

function readFile(value: unknown, at: string): ExportedFile {
  const it = read.object(value, at);
  return {
    id: read.uuid(it.id, `${at}.id`),
    path: payloadPath(it.path, `${at}.path`),
    filename: read.text(it.filename, `${at}.filename`),
    contentType: read.text(it.contentType, `${at}.contentType`),
    purpose: read.text(it.purpose, `${at}.purpose`),
    bytes: read.count(it.bytes, `${at}.bytes`),
    sha256: read.hex(it.sha256, `${at}.sha256`, 64),
    createdAt: read.time(it.createdAt, `${at}.createdAt`),
  };
}

function payloadPath(value: unknown, at: string): string {
  const path = read.text(value, at);
  const fault = pathFault(path) ?? (path.startsWith("data/") ? undefined : "is not in the folder data");
  if (fault !== undefined) throw new JsonFault(`${at} ${fault}`);
  return path;
}

function refuseTwice<T>(what: string, all: readonly T[], nameOf: (one: T) => string): void {
  const seen = new Set<string>();
  for (const one of all) {
    const name = nameOf(one);
    if (seen.has(name)) throw new JsonFault(`${what} has ${printable(JSON.stringify(name))} twice`);
    seen.add(name);
  }
}
