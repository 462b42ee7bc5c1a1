// Row-level security, for every table that the catalog knows: none is listed by hand.
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newTenant } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { type Database, openDatabase, platformTenantId } from "./database.ts";
import { appRole } from "./roles.ts";

interface TenantTable {
  readonly name: string;
  /** The column that says whose a row is. */
  readonly key: string;
}

const testDatabase: TestDatabase = await createTestDatabase();
const owner = new pg.Client({ connectionString: testDatabase.ownerUrl });
await owner.connect();
const tables: TenantTable[] = [{ name: "tenants", key: "id" }, ...(await findTables())];

let database: Database;
let app: pg.Client;
let mine: string;
let theirs: string;

async function findTables(): Promise<TenantTable[]> {
  const { rows } = await owner.query<TenantTable>(
    `select c.table_name as name, c.column_name as key
     from information_schema.columns c
     join pg_class k on k.relname = c.table_name and k.relnamespace = 'public'::regnamespace
     where c.table_schema = 'public' and c.column_name = 'tenant_id' and not k.relispartition and k.relkind in ('r', 'p')
     order by 1`,
  );
  return rows;
}

/** Gives a tenant a row in every table. */
async function fill(tenantId: string): Promise<void> {
  const own = [tenantId];
  const id = "gen_random_uuid()";
  await owner.query(`insert into users values ($1, ${id}, 'A', 'a@example.org')`, own);
  await owner.query(
    `with c as (insert into completions values ($1, ${id}, now(), 'm', '{}', null, '{}', '{}') returning *)
     insert into messages select tenant_id, id, 0, 'input', 'user', '{}' from c`,
    own,
  );
  await owner.query(`insert into files values ($1, ${id}, now(), 'f', 'p', 't', 1, sha256('x')) `, own);
  await owner.query(
    `insert into usage values ($1, ${id}, now(), ${id}, 'r', 'chat', 'm', 'p', 'completed', false, 1, 1, 0, 0, 2, 0, 1)`,
    own,
  );
  await owner.query(
    `insert into audit_log values ($1, ${id}, now(), 'system', null, 'test', 'test', null, null, '{}')`,
    own,
  );
  await owner.query("insert into token_budgets values ($1, '2026-01-01', 1)", own);
  await owner.query(`insert into token_leases values ($1, '2026-01-01', ${id}, 1, now())`, own);
  await owner.query(`insert into rate_windows values ($1, ${id}, now(), 1, 1)`, own);
  await owner.query(
    `with e as (insert into exports (tenant_id, id, created_by_type, row_format, compression, scope)
                values ($1, ${id}, 'operator', 'csv', 'none', '{}') returning *)
     insert into export_parts (tenant_id, export_id, path, kind, blob_id, bytes, sha256)
     select tenant_id, id, 'bagit.txt', 'tag', ${id}, 1, sha256('x') from e`,
    own,
  );
}

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log: recordingLog().log });
  mine = (await newTenant(database)).id;
  theirs = (await newTenant(database)).id;
  await fill(mine);
  await fill(theirs);
  app = new pg.Client({ connectionString: testDatabase.appUrl });
  await app.connect();
});
afterAll(async () => {
  await app.end();
  await owner.end();
  await database.close();
  await testDatabase.drop();
});

/** Runs `sql` as the application in a transaction that is rolled back. */
async function asApp(
  scope: string | undefined,
  sql: string,
  values: unknown[] = [],
): Promise<pg.QueryResult> {
  await app.query("begin");
  try {
    if (scope !== undefined) await app.query("select set_config('ectus.tenants', $1, true)", [`{${scope}}`]);
    return await app.query(sql, values);
  } finally {
    await app.query("rollback");
  }
}

test("every table of the schema is a tenant's or known to hold nothing of tenants", async () => {
  const { rows } = await owner.query(
    "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition",
  );
  const names = new Set(tables.map(({ name }) => name));
  expect(
    rows
      .map(({ relname }) => relname)
      .filter((name) => !names.has(name))
      .toSorted(),
  ).toEqual(["schema_migrations", "signing_keys"]);
  expect(names.size).toBeGreaterThanOrEqual(11);
});

describe.each(tables)("the table $name", ({ name, key }) => {
  test("has row security, enabled and forced", async () => {
    const { rows } = await owner.query(
      "select relrowsecurity as enabled, relforcerowsecurity as forced from pg_class where oid = $1::regclass",
      [name],
    );
    expect(rows).toEqual([{ enabled: true, forced: true }]);
  });

  test("has rows of both tenants, of which each sees its own and nobody without a scope sees any", async () => {
    const all = await owner.query(`select distinct ${key} as id from ${name}`);
    expect(all.rows.map(({ id }) => id)).toEqual(expect.arrayContaining([mine, theirs]));
    for (const tenant of [mine, theirs]) {
      const { rows } = await asApp(tenant, `select distinct ${key} as id from ${name}`);
      expect(rows).toEqual([{ id: tenant }]);
      const named = await asApp(tenant, `select from ${name} where ${key} <> $1`, [tenant]);
      expect(named.rowCount).toBe(0);
    }
    expect((await asApp(undefined, `select from ${name}`)).rowCount).toBe(0);
    expect((await asApp("", `select from ${name}`)).rowCount).toBe(0);
  });

  test("lets nobody change, delete, take or give away another tenant's rows", async () => {
    const { rows: columns } = await owner.query(
      "select column_name as name from information_schema.columns where table_name = $1 and is_generated = 'NEVER'",
      [name],
    );
    const list = columns.map((column) => column.name).join(", ");
    const row = (await owner.query(`select ${list} from ${name} where ${key} = $1`, [theirs])).rows[0];
    const refused = /row-level security|permission denied/;
    // An insert of a copy would break the primary key, if it got that far.
    const values = columns.map((_, index) => `$${index + 1}`).join(", ");
    const given = columns.map(({ name: column }) => {
      const value = row[column];
      return value !== null && typeof value === "object" && value.constructor === Object
        ? JSON.stringify(value)
        : value;
    });
    for (const scope of [mine, undefined]) {
      await expect(asApp(scope, `insert into ${name} (${list}) values (${values})`, given)).rejects.toThrow(
        refused,
      );
      for (const sql of [
        `update ${name} set ${key} = ${key} where ${key} = $1`,
        `delete from ${name} where ${key} = $1`,
      ]) {
        const changed = await asApp(scope, sql, [theirs]).then(
          (result) => result.rowCount,
          (error) => {
            expect(error.message).toMatch(refused);
            return 0;
          },
        );
        expect(changed).toBe(0);
      }
    }
    await expect(
      asApp(mine, `update ${name} set ${key} = $2 where ${key} = $1`, [mine, theirs]).then((result) => {
        if (result.rowCount === 0) throw new Error("row-level security hides the row");
      }),
    ).rejects.toThrow(refused);
  });
});

test("a tenant in scope cannot raise its own limits, the platform can", async () => {
  const raise = "update tenants set monthly_token_budget = 1 where id = $1";
  expect((await asApp(mine, raise, [mine])).rowCount).toBe(0);
  expect((await asApp(platformTenantId, raise, [mine])).rowCount).toBe(1);
});

test("the application's role bypasses nothing, owns nothing and is a member of nothing", async () => {
  const { rows } = await app.query(
    "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication from pg_roles where rolname = current_user",
  );
  expect(rows).toEqual([
    {
      rolsuper: false,
      rolbypassrls: false,
      rolcreaterole: false,
      rolcreatedb: false,
      rolreplication: false,
    },
  ]);
  const owned = await owner.query(
    `select relname as name from pg_class where relowner = $1::regrole
     union all select proname from pg_proc where proowner = $1::regrole
     union all select nspname from pg_namespace where nspowner = $1::regrole
     union all select datname from pg_database where datdba = $1::regrole
     union all select roleid::regrole::text from pg_auth_members where member = $1::regrole`,
    [appRole],
  );
  expect(owned.rows).toEqual([]);
});

test.each([
  ["become the owner", "set role ectus_owner"],
  ["become a superuser", "set role postgres"],
  ["make a table", "create table sneaky ()"],
  ["make a schema", "create schema sneaky"],
  ["make a function", "create function sneaky() returns int language sql return 1"],
  ["read passwords", "select * from pg_authid"],
  ["turn row security off", "alter table files disable row level security"],
  ["drop a policy", "drop policy tenants_in_scope on files"],
  ["empty a table", "truncate files"],
  ["make partitions", "call create_month_partitions('2060-01-01', 1)"],
  ["mark a migration as applied", "insert into schema_migrations values (9999, 'x', 'x')"],
  ["change the audit log", "update audit_log set action = 'other'"],
  ["delete usage", "delete from usage"],
  ["change a signing key", "update signing_keys set kid = kid"],
  ["read the server's files", "select pg_read_file('/etc/passwd')"],
])("the application's role cannot %s", async (_, sql) => {
  await expect(asApp(mine, sql)).rejects.toThrow(/permission denied|must be (owner|able)|must be owner/);
});

test("row security cannot be switched off for a session: queries fail then", async () => {
  await app.query("set row_security = off");
  await expect(asApp(mine, "select from files")).rejects.toThrow("row-level security");
  await app.query("reset row_security");
});

// Policies of a partitioned table do not hold for a partition that is named directly.
test("the application's role has no right on any partition", async () => {
  const { rows } = await owner.query(
    `select c.relname as name,
            has_table_privilege($1, c.oid, 'select, insert, update, delete, truncate, references, trigger')
              or has_any_column_privilege($1, c.oid, 'select, insert, update, references') as allowed
     from pg_class c where c.relnamespace = 'public'::regnamespace and c.relispartition and c.relkind = 'r'`,
    [appRole],
  );
  expect(rows.length).toBeGreaterThan(20);
  expect(rows.filter(({ allowed }) => allowed)).toEqual([]);
  for (const name of ["usage_default", "audit_log_default"])
    await expect(asApp(mine, `select from ${name}`)).rejects.toThrow("permission denied");
});

test("a view shows what its reader may see, and no more", async () => {
  const { rows } = await owner.query(
    "select relname as name, reloptions as options from pg_class where relnamespace = 'public'::regnamespace and relkind in ('v', 'm')",
  );
  expect(rows).toEqual([{ name: "token_spending", options: ["security_invoker=true"] }]);
  const read = "select tenant_id, spent, leased from token_spending";
  expect((await asApp(mine, read)).rows).toEqual([{ tenant_id: mine, spent: "0", leased: "1" }]);
  expect((await asApp(undefined, read)).rows).toEqual([]);
});

test("few functions see past row security, each with its search path set and closed to the public", async () => {
  const { rows } = await owner.query(
    `select p.oid::regprocedure::text as name, array_to_string(proconfig, ';') as config,
            has_function_privilege('public', p.oid, 'execute') as public
     from pg_proc p where pronamespace in ('public'::regnamespace, 'pgboss'::regnamespace) and prosecdef order by 1`,
  );
  const config = "search_path=pg_catalog, public, pg_temp";
  expect(rows).toEqual([
    { name: "claim_export(uuid,interval,integer,integer)", config, public: false },
    { name: "find_api_key(bytea[])", config, public: false },
    { name: "find_expired_exports(integer)", config, public: false },
    { name: "oldest_unfinished_export()", config, public: false },
    { name: "reclaim_lease()", config, public: false },
  ]);
});

test("the audit log can be changed by nobody, the owner included", async () => {
  for (const sql of [
    "update audit_log set action = 'other'",
    "delete from audit_log",
    "truncate audit_log",
    "truncate audit_log_default",
    `truncate audit_log_${new Date().toISOString().slice(0, 7).replace("-", "_")}`,
    `delete from audit_log_${new Date().toISOString().slice(0, 7).replace("-", "_")}`,
  ])
    await expect(owner.query(sql)).rejects.toThrow("the audit log is append-only");
});
