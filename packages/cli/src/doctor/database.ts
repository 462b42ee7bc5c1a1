// Checks of the database: whether it answers, its version and schema, row security, the data map, and the months to
// come.
import { EctusError, errorMessage } from "@ectus/core";
import { type DatabaseFacts, inspectDatabase, type PartitionFacts } from "@ectus/database";
import type { InstanceDatabase } from "../open-instance-database.ts";
import type { PostgresUrls } from "../open-postgres.ts";
import { type Check, fail, ok, warn } from "./check.ts";
import { judgeDataMap } from "./data-map.ts";

const versions = { oldest: 15, newest: 18 };
const monthsAhead = 2;

const servers: Readonly<Record<InstanceDatabase["server"], string>> = {
  external: "DATABASE_URL",
  running: "the embedded one of the instance that is running",
  started: "the embedded one (started for this check)",
};

/** @param open finds the database, which the caller closes; rejects when there is none to be had */
export async function checkDatabase(open: () => Promise<InstanceDatabase>): Promise<Check[]> {
  let found: InstanceDatabase;
  try {
    found = await open();
  } catch (error) {
    return [fail("database", errorMessage(error), fixFor(error))];
  }
  let facts: DatabaseFacts;
  try {
    facts = await inspectDatabase({ ...found, monthsAhead });
  } catch (error) {
    return [
      fail(
        "database",
        `${servers[found.server]} does not answer at ${addressOf(found)} (${errorMessage(error)})`,
        found.server === "external"
          ? "Check DATABASE_URL and DATABASE_OWNER_URL, that PostgreSQL runs there, and that its pg_hba.conf lets this machine in."
          : "Restore secrets.json from a backup if its passwords are not this database's, or look at the instance's log.",
      ),
    ];
  }
  return [ok("database", `${servers[found.server]} answers at ${addressOf(found)}`), ...judgeDatabase(facts)];
}

/** What the facts of a database mean. */
export function judgeDatabase(facts: DatabaseFacts): Check[] {
  const checks = [judgeVersion(facts.serverVersion)];
  if (facts.schemaFault !== undefined) {
    return [
      ...checks,
      fail("schema", facts.schemaFault, "Run 'ectus migrate', with this or a newer version of Ectus-R."),
    ];
  }
  return [
    ...checks,
    ok("schema", "fits this version"),
    facts.rowSecurityFaults.length === 0
      ? ok("row security", "keeps tenants apart")
      : fail(
          "row security",
          facts.rowSecurityFaults.join("; "),
          "As a superuser: alter role ectus_app nosuperuser nobypassrls; grant ectus_app to the role of DATABASE_URL; and enable and force row level security on the tables.",
        ),
    judgeDataMap(facts.dataMapFaults),
    ...facts.partitions.flatMap(judgePartitions),
  ];
}

function judgeVersion(serverVersion: number): Check {
  const major = Math.floor(serverVersion / 10_000);
  const detail = `PostgreSQL ${major}.${serverVersion % 10_000}`;
  if (major < versions.oldest)
    return fail("database version", detail, `Upgrade it to PostgreSQL ${versions.oldest} or later.`);
  if (major > versions.newest)
    return warn(
      "database version",
      `${detail}, with which this version was not tested`,
      `Use PostgreSQL ${versions.oldest} to ${versions.newest}, or a newer Ectus-R.`,
    );
  return ok("database version", detail);
}

function judgePartitions({ table, missingMonths, defaultHasRows }: PartitionFacts): Check[] {
  const months =
    missingMonths.length === 0
      ? ok(`partitions of ${table}`, `there are some for ${monthsAhead} months and more ahead`)
      : fail(
          `partitions of ${table}`,
          `none for ${missingMonths.join(", ")}`,
          "Run 'ectus migrate' or restart an instance; either makes those of the next 12 months.",
        );
  if (defaultHasRows === undefined)
    return [
      months,
      warn(
        `default partition of ${table}`,
        "the role of DATABASE_URL may not look into it",
        "Set DATABASE_OWNER_URL to the role that owns the schema.",
      ),
    ];
  return [
    months,
    defaultHasRows
      ? fail(
          `default partition of ${table}`,
          "holds rows that no month's partition took, and is in the way of a partition for them",
          `In one transaction as the owner: detach ${table}_default, run 'call create_month_partitions(…)' for those months, insert its rows into ${table}, empty it and attach it again.`,
        )
      : ok(`default partition of ${table}`, "is empty"),
  ];
}

function addressOf({ url }: PostgresUrls): string {
  const { hostname, port, pathname } = new URL(url);
  return `${hostname}:${port || 5432}${pathname}`;
}

function fixFor(error: unknown): string {
  const code = error instanceof EctusError ? error.code : undefined;
  if (code === "not_found") return "Do what it says.";
  if (code === "data_dir_in_use") return "Wait until that process has started or stopped, then try again.";
  return "Look at what PostgreSQL said: LOG_LEVEL=debug ectus doctor.";
}
