// Looks at a database from outside, for `ectus doctor`: what it is and whether it is as this version needs it.
import pg from "pg";
import { dataMapFaults, readLiveColumns } from "./data-map-check.ts";
import type { Query } from "./database.ts";
import { schemaFault } from "./migrate.ts";
import { appRole } from "./roles.ts";

export interface DatabaseFacts {
  /** As PostgreSQL counts: 180004 is 18.4. */
  readonly serverVersion: number;
  /** Why the schema does not fit this version; undefined if it does. What follows is empty then. */
  readonly schemaFault: string | undefined;
  /** Why row security does not hold for the application; empty if it does. */
  readonly rowSecurityFaults: readonly string[];
  /** In what the tables and columns are not as the data map says; empty if they are. */
  readonly dataMapFaults: readonly string[];
  readonly partitions: readonly PartitionFacts[];
}

export interface PartitionFacts {
  readonly table: string;
  /** Months from the current one on, as `2026-11`, that have no partition. */
  readonly missingMonths: readonly string[];
  /** Whether the default partition holds rows; undefined if this role may not look. */
  readonly defaultHasRows: boolean | undefined;
}

export interface InspectOptions {
  /** URL as the application. */
  readonly url: string;
  /** URL as the owner of the schema, who may look into partitions. */
  readonly ownerUrl: string;
  /** Months after the current one that must have partitions. */
  readonly monthsAhead: number;
  readonly now?: () => Date;
  readonly timeoutMs?: number;
}

const partitioned = ["usage", "audit_log"];
const insufficientPrivilege = "42501";

/** Changes nothing. Rejects when the database cannot be reached. */
export async function inspectDatabase(options: InspectOptions): Promise<DatabaseFacts> {
  const { url, ownerUrl, monthsAhead, now = () => new Date(), timeoutMs = 5_000 } = options;
  const asApp = await withClient(url, timeoutMs, async (client) => {
    const version = await client.query("select current_setting('server_version_num')::integer as version");
    const fault = await schemaFault(client);
    return {
      serverVersion: version.rows[0].version as number,
      schemaFault: fault,
      rowSecurityFaults: fault === undefined ? await findRowSecurityFaults(client) : [],
      dataMapFaults: fault === undefined ? await findDataMapFaults(client) : [],
    };
  });
  if (asApp.schemaFault !== undefined) return { ...asApp, partitions: [] };
  const months = monthsFrom(now(), monthsAhead);
  const partitions = await withClient(ownerUrl, timeoutMs, async (client) => {
    const facts: PartitionFacts[] = [];
    for (const table of partitioned) facts.push(await inspectPartitions(client, table, months));
    return facts;
  });
  return { ...asApp, partitions };
}

/** Why the database does not fit this version; undefined if it does. Rejects when it cannot be reached. */
export function findSchemaFault(url: string, timeoutMs = 5_000): Promise<string | undefined> {
  return withClient(url, timeoutMs, schemaFault);
}

async function withClient<T>(
  url: string,
  timeoutMs: number,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    application_name: "ectus-doctor",
    connectionTimeoutMillis: timeoutMs,
    statement_timeout: timeoutMs,
    query_timeout: timeoutMs * 2,
  });
  // A connection that breaks between two queries says so here; the next query rejects.
  client.on("error", () => {});
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

async function findRowSecurityFaults(client: pg.Client): Promise<string[]> {
  const faults: string[] = [];
  const role = await client.query(
    "select rolsuper or rolbypassrls as bypasses, pg_has_role(rolname, 'member') as usable from pg_roles where rolname = $1",
    [appRole],
  );
  if (role.rows[0] === undefined) return [`the role ${appRole} is missing`];
  if (role.rows[0].bypasses) faults.push(`the role ${appRole} can bypass row security`);
  if (!role.rows[0].usable)
    faults.push(`the role of DATABASE_URL may not become ${appRole}, as which the application runs`);
  // Partitions are read through their tables, whose policies hold then.
  const open = await client.query(
    `select relname from pg_class
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
       and relname <> 'schema_migrations' and not (relrowsecurity and relforcerowsecurity)
     order by relname`,
  );
  for (const { relname } of open.rows) faults.push(`the table ${relname} has no row security`);
  return faults;
}

async function findDataMapFaults(client: pg.Client): Promise<readonly string[]> {
  const query = async <Row extends object>({ text, values }: Query): Promise<Row[]> =>
    (await client.query<Row & pg.QueryResultRow>(text, [...values])).rows;
  return dataMapFaults(await readLiveColumns(query));
}

async function inspectPartitions(
  client: pg.Client,
  table: string,
  months: readonly string[],
): Promise<PartitionFacts> {
  const missingMonths: string[] = [];
  for (const month of months) {
    const name = `${table}_${month.replace("-", "_")}`;
    const { rows } = await client.query("select to_regclass($1) is null as missing", [name]);
    if (rows[0].missing) missingMonths.push(month);
  }
  try {
    const { rows } = await client.query(`select exists (select from ${table}_default) as found`);
    return { table, missingMonths, defaultHasRows: rows[0].found };
  } catch (error) {
    if (!(error instanceof pg.DatabaseError && error.code === insufficientPrivilege)) throw error;
    return { table, missingMonths, defaultHasRows: undefined };
  }
}

function monthsFrom(date: Date, ahead: number): string[] {
  return Array.from({ length: ahead + 1 }, (_, index) =>
    new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + index, 1)).toISOString().slice(0, 7),
  );
}
