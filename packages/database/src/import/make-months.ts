// Makes the partitions that a bag's rows have no month for, before the import begins: in the default partitions, which all
// tenants share, they would be in the way of those that are made later, and slow to look through.
import type { Logger } from "@ectus/core";
import { isLockTimeout } from "../database-errors.ts";
import type { ImportConnection } from "./import-connection.ts";
import { importRefused } from "./import-refused.ts";
import { type Meter, type StageOptions, stageParts } from "./load-table.ts";
import type { TablePlan } from "./plan-import.ts";

export interface MakeMonthsOptions extends Omit<StageOptions, "meter"> {
  readonly lockTimeoutMs: number;
  readonly log: Logger;
}

/** Tables that have a partition for each month of `created_at`. */
const byMonth: readonly string[] = ["usage", "audit_log"];
/** What is older stays in the default partitions: a few rows with a wrong time must not make thousands of tables. */
const mostYears = 10;
// While this waits for an export or another import, every settlement waits behind it.
const partitionLockTimeoutMs = 250;

/** @throws EctusError `import_refused` when rows are of a month to come that has no partition yet */
export async function makeMonths(
  connection: ImportConnection,
  tables: readonly TablePlan[],
  options: MakeMonthsOptions,
): Promise<void> {
  const missing = new Set<string>();
  // Ends before partitions are made: by then nothing of their tables may be locked.
  await connection.run("begin");
  for (const table of tables.filter(({ name }) => byMonth.includes(name)))
    await findMissingMonths(connection, table, options, missing);
  await connection.run("commit");
  if (missing.size === 0) return;
  await setLockTimeout(connection, partitionLockTimeoutMs);
  try {
    for (const month of [...missing].sort())
      await connection.run("call create_month_partitions($1::date, 1)", [`${month}-01`]);
  } catch (error) {
    if (!(error instanceof Error && isLockTimeout(error.cause))) throw error;
    options.log.warn(
      { months: [...missing].sort() },
      "tables were in use, so partitions of the months of an import could not be made: its rows go into the default ones",
    );
  }
  await setLockTimeout(connection, options.lockTimeoutMs);
}

async function findMissingMonths(
  connection: ImportConnection,
  table: TablePlan,
  options: MakeMonthsOptions,
  missing: Set<string>,
): Promise<void> {
  const months = missingMonthsStatement(table);
  await stageParts(connection, table, { ...options, meter: notMetered }, async () => {
    for (const { month, isToCome } of await connection.run<{ month: string; isToCome: boolean }>(months)) {
      // Nobody writes such rows but with a clock that is wrong, or to do harm.
      if (isToCome)
        throw importRefused(
          `its table ${table.name} has rows of ${month}, which is to come: they would be in the way of that month's partition, which all tenants share. Export a range of dates that ends before.`,
        );
      missing.add(month);
    }
  });
}

function missingMonthsStatement({ name, format }: TablePlan): string {
  const createdAt = format === "ndjson" ? "(line::json ->> 'created_at')::timestamptz" : "created_at";
  return `
    with months as (
      select distinct date_trunc('month', at, 'UTC') as month from (select ${createdAt} as at from import_staging) rows
      where isfinite(at) and at >= now() - interval '${mostYears} years'
    )
    select to_char(month, 'YYYY-MM') as month, month > now() as "isToCome" from months
    where to_regclass('${name}' || to_char(month, '_YYYY_MM')) is null`;
}

// These rows are read again when they are loaded.
const notMetered: Meter = async function* (source) {
  yield* source;
};

async function setLockTimeout(connection: ImportConnection, timeoutMs: number): Promise<void> {
  await connection.run("select set_config('lock_timeout', $1, false)", [String(timeoutMs)]);
}
