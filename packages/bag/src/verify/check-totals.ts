// Checks export.json against itself: that tables are the sum of their parts, and that nothing of the scope is left out.
import type { ExportDocument, ExportedTable } from "../export-document.ts";
import { formatDigest } from "../row-digest.ts";
import { type FaultList, plural } from "./fault-list.ts";

export function checkTotals(document: ExportDocument, faults: FaultList): void {
  const { tables, auditLog, files, scope } = document;
  for (const table of auditLog === null ? tables : [...tables, auditLog]) checkTable(table, faults);
  const missing = [
    ...scope.tables.filter((name) => !tables.some((table) => table.name === name)),
    ...(scope.auditLog && auditLog === null ? ["the audit log"] : []),
    ...(scope.files && files === null ? ["files"] : []),
  ];
  for (const what of missing)
    faults.add("document_invalid", "export.json", `its scope has ${what}, and it does not`);
}

function checkTable({ name, rows, digest, parts }: ExportedTable, faults: FaultList): void {
  const rowsOfParts = parts.reduce((sum, part) => sum + part.rows, 0);
  const digestOfParts = formatDigest(parts.reduce((sum, part) => sum + BigInt(`0x${part.digest}`), 0n));
  if (rowsOfParts !== rows)
    faults.add(
      "rows_differ",
      "export.json",
      `the parts of the table ${name} have ${plural(rowsOfParts, "row")} where the table has ${rows.toLocaleString("en-US")}`,
    );
  else if (digestOfParts !== digest)
    faults.add(
      "row_digest_differs",
      "export.json",
      `the parts of the table ${name} have the digest ${digestOfParts} where the table has ${digest}`,
    );
}
