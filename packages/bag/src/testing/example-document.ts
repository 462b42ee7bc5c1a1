// What an export of a small tenant says, for tests of what writes and reads it.
import type { ExportedFile, ExportedTable } from "../export-document.ts";
import type { ExportHead } from "../render-export-document.ts";

const sha256 = "ab".repeat(32);
const digest = "0123456789abcdef";

function table(name: string, parts: readonly string[]): ExportedTable {
  return {
    name,
    rows: parts.length,
    digest,
    columns: [
      { name: "id", type: "uuid", class: "identifier" },
      { name: "email", type: "text", class: "personal" },
    ],
    key: ["id"],
    withheld: [{ name: "tenant_id", reason: "the same in every row; export.json says it once" }],
    parts: parts.map((path) => ({ path, rows: 1, bytes: 20, sha256, digest })),
  };
}

export const exampleHead: ExportHead = {
  format: "ectus-export",
  version: 1,
  id: "019aa64c-3b2e-7f0e-8a4d-9c5b6f1e2d3c",
  tenant: { id: "019aa64c-0000-7000-8000-000000000000", name: "Acme \u{1f42a} Corp.\n" },
  snapshotAt: "2026-11-24T23:00:00.123456Z",
  software: "Ectus-R 0.1.0",
  schemaVersion: 3,
  rowFormat: "ndjson",
  compression: "none",
  scope: { tables: ["users", "usage"], files: true, auditLog: true },
  tables: [
    table("users", ["data/tables/users/part-00001.ndjson", "data/tables/users/part-00002.ndjson"]),
    table("usage", []),
  ],
  withheldTables: [{ name: "token_leases", reason: "of this platform's own making, and gone in a minute" }],
  auditLog: {
    ...table("audit_log", ["data/audit/part-00001.ndjson"]),
    head: { id: "019aa64c-0000-7000-8000-00000000000f", createdAt: "2026-11-24T22:59:59.000001Z" },
  },
};

/** One of many files. */
export function exampleFile(number: number): ExportedFile {
  const id = `019aa64c-1111-7000-8000-${String(number).padStart(12, "0")}`;
  return {
    id,
    path: `data/files/${id}.pdf`,
    filename: `Report "${number}".pdf\n`,
    contentType: "application/pdf",
    purpose: "user_data",
    bytes: 1_000 + number,
    sha256,
    createdAt: "2026-11-24T22:00:00.000Z",
  };
}
