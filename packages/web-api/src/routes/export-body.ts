// What a client asks for when it asks for an export: the body's schema, and its meaning.
import type { ExportScope } from "@ectus/bag";
import { EctusError } from "@ectus/core";
import { dataMap, exportedTables, type MappedTable } from "@ectus/database";
import Type from "typebox";
import { refuseUnstorable } from "../storable-text.ts";

const closed = { additionalProperties: false };
// An e-mail address may be as long (RFC 5321, section 4.5.3.1).
const mostSubjectCharacters = 320;

const ScopeBody = Type.Object(
  {
    tables: Type.Optional(
      Type.Array(Type.Enum([...exportedTables]), {
        maxItems: 100,
        description: "Rows of these tables",
      }),
    ),
    files: Type.Optional(Type.Boolean({ description: "The contents of files" })),
    audit_log: Type.Optional(Type.Boolean()),
    from: Type.Optional(Type.String({ format: "date-time", description: "Rows from then on" })),
    to: Type.Optional(Type.String({ format: "date-time", description: "Rows before then" })),
    subject: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: mostSubjectCharacters,
        description:
          "Only rows about this person: the user of completions, or the id or e-mail address of a user. Without files and audit log",
      }),
    ),
  },
  {
    ...closed,
    description:
      "Without tables, files and audit_log everything; with any of them only what is named or true. With subject, all tables that have rows about persons",
  },
);

export const ExportBody = Type.Object(
  {
    format: Type.Optional(Type.Enum(["ndjson", "csv"], { default: "ndjson" })),
    compression: Type.Optional(Type.Enum(["none", "gzip", "zstd"], { default: "zstd" })),
    scope: Type.Optional(ScopeBody),
  },
  closed,
);

export const ExportHeaders = Type.Object({
  "idempotency-key": Type.Optional(
    Type.String({
      description:
        "1 to 255 visible ASCII characters; a second request with the same key gets the first one's export",
    }),
  ),
});

/** Tables that have rows about persons. */
const subjectTables = exportedTables.filter((table) => dataMap[table].subject !== null);

/**
 * What is asked for: tables in the order of the data map and without repeats, times in UTC.
 *
 * @throws EctusError `invalid_request` or `invalid_text`
 */
export function readScope(body: Type.Static<typeof ScopeBody> = {}): ExportScope {
  const { subject } = body;
  const times = readTimes(body);
  if (subject !== undefined) {
    refuseUnstorable(subject, "scope.subject");
    return { tables: tablesOfSubject(body), files: false, auditLog: false, ...times, subject };
  }
  const { tables, files, audit_log } = body;
  if (tables === undefined && files === undefined && audit_log === undefined)
    return { tables: exportedTables, files: true, auditLog: true, ...times };
  const named = inOrder(tables ?? []);
  if (named.length === 0 && files !== true && audit_log !== true) throw selectsNothing();
  return { tables: named, files: files ?? false, auditLog: audit_log ?? false, ...times };
}

function tablesOfSubject({ tables, files, audit_log }: Type.Static<typeof ScopeBody>): MappedTable[] {
  if (files === true)
    throw refused("scope.files", "with a subject there are no files, since none says whom it is about");
  if (audit_log === true)
    throw refused(
      "scope.audit_log",
      "with a subject there is no audit log, since it says nothing of a person's data",
    );
  if (tables === undefined) return subjectTables;
  const other = tables.findIndex((table) => !subjectTables.includes(table));
  if (other >= 0)
    throw refused(
      `scope.tables[${other}]`,
      `the table ${tables[other]} has no rows about persons; with a subject accepted are ${subjectTables.join(", ")}`,
    );
  if (tables.length === 0) throw selectsNothing();
  return inOrder(tables);
}

const inOrder = (tables: readonly MappedTable[]): MappedTable[] =>
  exportedTables.filter((table) => tables.includes(table));

function readTimes({ from, to }: Type.Static<typeof ScopeBody>): Pick<ExportScope, "from" | "to"> {
  const times = {
    ...(from === undefined ? {} : { from: readTime("scope.from", from) }),
    ...(to === undefined ? {} : { to: readTime("scope.to", to) }),
  };
  if (times.from !== undefined && times.to !== undefined && times.from >= times.to)
    throw refused("scope.to", "it must be later than 'scope.from'");
  return times;
}

/** Not every time that RFC 3339 allows is a Date, as leap seconds, or a time of PostgreSQL, which has no year 0. */
function readTime(param: string, text: string): string {
  const time = new Date(text);
  const iso = Number.isNaN(time.getTime()) ? "" : time.toISOString();
  if (!/^\d{4}-/.test(iso) || iso.startsWith("0000"))
    throw refused(param, "it is no time that this platform knows");
  return iso;
}

/** @throws EctusError `invalid_request` */
export function readIdempotencyKey(header: string | undefined): { readonly idempotencyKey?: string } {
  if (header === undefined) return {};
  if (/^[\x21-\x7e]{1,255}$/.test(header)) return { idempotencyKey: header };
  throw new EctusError("invalid_request", {
    param: "Idempotency-Key",
    reason:
      "The header 'Idempotency-Key' is not valid: it must have 1 to 255 visible ASCII characters, and be sent once.",
  });
}

const selectsNothing = (): EctusError =>
  refused("scope", "it selects nothing; name tables, set files or audit_log to true, or leave it out");

const refused = (param: string, reason: string): EctusError =>
  new EctusError("invalid_request", { param, reason: `The field '${param}' is not valid: ${reason}.` });
