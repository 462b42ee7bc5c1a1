import { randomUUID } from "node:crypto";
import { sumOfNumeric } from "@ectus/bag";
import type pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { connectTo } from "../../../tests/postgres/connect.ts";
import { newTenant } from "../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../tests/postgres/open-test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import type { Database } from "./database.ts";
import { copyStatement, digestStatement } from "./export-statements.ts";
import type { CopyRows, RowBlock, SnapshotReader } from "./snapshot.ts";

let open: OpenTestDatabase;
let database: Database;
let other: pg.Client;
let tenantId: string;
let otherTenantId: string;
const userCount = 500;

beforeAll(async () => {
  open = await openTestDatabase(2);
  ({ database } = open);
  other = await connectTo(open.ownerUrl);
  // What no export may depend on.
  await open.owner.query(`alter database ${open.databaseName} set timezone to 'Asia/Kathmandu'`);
  await open.owner.query(`alter database ${open.databaseName} set datestyle to 'German'`);
  await open.owner.query(`alter database ${open.databaseName} set bytea_output to 'escape'`);
});
beforeEach(async () => {
  tenantId = (await newTenant(database)).id;
  otherTenantId = (await newTenant(database)).id;
  await open.owner.query(
    `insert into users (tenant_id, id, name, email)
     select t, gen_random_uuid(), 'User "' || g || E'"\\nof ' || t, 'u' || g || '@example.org'
     from unnest($1::uuid[]) t, generate_series(1, $2) g`,
    [[tenantId, otherTenantId], userCount],
  );
});
afterAll(async () => {
  await other.end();
  await open.close();
});

const types = { id: "uuid", name: "text", email: "text", created_at: "timestamptz" };
const usersCopy = (format: CopyRows["format"], blockBytes = 10_000): CopyRows => ({
  text: copyStatement({ table: "users", types }, format),
  table: "users",
  settings: {},
  format,
  blockBytes,
});
const copyOf = (select: string, format: CopyRows["format"], blockBytes = 10_000): CopyRows => ({
  text: `copy (${select}) to stdout (format ${format === "csv" ? "csv, force_quote *" : "binary"})`,
  table: "none",
  settings: {},
  format,
  blockBytes,
});

async function collect(blocks: AsyncIterable<RowBlock>): Promise<RowBlock[]> {
  return Array.fromAsync(blocks);
}
const textOf = (blocks: readonly RowBlock[]): string =>
  Buffer.concat(blocks.map(({ bytes }) => bytes)).toString();
const rowsOf = (blocks: readonly RowBlock[]): number => blocks.reduce((sum, { rows }) => sum + rows, 0);
const digestOf = (blocks: readonly RowBlock[]): bigint =>
  BigInt.asUintN(
    64,
    blocks.reduce((sum, { digest }) => sum + digest, 0n),
  );
const query = (text: string) => ({ text, values: [], operation: "test", table: "none" as const });
const countUsers = async (reader: SnapshotReader): Promise<number> =>
  (await reader.query<{ count: number }>(query("select count(*) from users")))[0]?.count ?? -1;

async function lockWaiters(): Promise<number> {
  const { rows } = await open.owner.query(
    "select from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())",
  );
  return rows.length;
}

test.each(["csv", "ndjson"] as const)(
  "a table's rows as %s are those of the tenant, with the digest that PostgreSQL gives",
  async (format) => {
    const { blocks, counted } = await database.inSnapshot(
      { tenantId, tables: ["users"], readers: 2 },
      async ({ readers: [first, second = first] }) => {
        const [blocks, counted] = await Promise.all([
          collect(first.copyRows(usersCopy(format))),
          second.query<{ rows: number; digest: string }>(
            query(digestStatement({ table: "users", types }, format)),
          ),
        ]);
        return { blocks, counted };
      },
    );
    expect(blocks.length).toBeGreaterThan(5);
    expect(counted).toEqual([{ rows: userCount, digest: expect.any(String) }]);
    expect(rowsOf(blocks)).toBe(userCount);
    expect(digestOf(blocks)).toBe(sumOfNumeric(counted[0]?.digest ?? ""));
    const text = textOf(blocks);
    expect(text).toContain(tenantId);
    expect(text).not.toContain(otherTenantId);
    const lines = text.split(format === "csv" ? "\r\n" : "\n");
    expect(lines).toHaveLength(userCount + 1);
    // The last row of a block is its last line.
    for (const { bytes, lastRow, endsRow } of blocks) {
      expect(endsRow).toBe(true);
      expect(bytes.toString().trimEnd().endsWith(lastRow.toString())).toBe(true);
    }
    expect(lines).toContain(blocks[0]?.lastRow.toString());
  },
);

test("nothing that happens after the snapshot was taken is in it, for any of its readers", async () => {
  await database.inSnapshot({ tenantId, tables: ["users"], readers: 3 }, async ({ readers, takenAt }) => {
    expect(Math.abs(takenAt.getTime() - Date.now())).toBeLessThan(5_000);
    const before = await Promise.all(readers.map((reader) => collect(reader.copyRows(usersCopy("ndjson")))));
    await other.query("delete from users where tenant_id = $1 and email like 'u1%'", [tenantId]);
    await other.query("update users set name = 'changed' where tenant_id = $1", [tenantId]);
    await other.query(
      "insert into users (tenant_id, id, name, email) values ($1, gen_random_uuid(), 'new', 'new@example.org')",
      [tenantId],
    );
    for (const reader of readers) {
      const after = await collect(reader.copyRows(usersCopy("ndjson")));
      expect(after.map(({ bytes }) => bytes.toString())).toEqual(
        before[0]?.map(({ bytes }) => bytes.toString()),
      );
      expect(await countUsers(reader)).toBe(userCount);
    }
  });
});

test("what was committed while it waited for the lock of a table is in it", async () => {
  await other.query("begin; lock table users in access exclusive mode");
  const counted = database.inSnapshot({ tenantId, tables: ["users"], readers: 2 }, ({ readers }) =>
    Promise.all(readers.map(countUsers)),
  );
  await until(async () => (await lockWaiters()) === 1);
  await other.query("delete from users where email = 'u7@example.org'; commit");
  expect(await counted).toEqual([userCount - 1, userCount - 1]);
});

test("a table of it is not truncated meanwhile: that waits", async () => {
  let truncated: Promise<unknown> | undefined;
  await database.inSnapshot({ tenantId, tables: ["users"], readers: 2 }, async ({ readers }) => {
    truncated = other.query("truncate users");
    await until(async () => (await lockWaiters()) === 1);
    for (const reader of readers) {
      expect(rowsOf(await collect(reader.copyRows(usersCopy("csv"))))).toBe(userCount);
      expect(await countUsers(reader)).toBe(userCount);
    }
    expect(await lockWaiters()).toBe(1);
  });
  await truncated;
  expect((await open.owner.query("select from users")).rowCount).toBe(0);
});

test("no statement sees another tenant's rows, and none can write", async () => {
  await database.inSnapshot({ tenantId, tables: ["users", "tenants"], readers: 2 }, async ({ readers }) => {
    for (const reader of readers) {
      const blocks = await collect(reader.copyRows(copyOf("select to_json(tenant_id) from users", "ndjson")));
      expect(new Set(textOf(blocks).trim().split("\n"))).toEqual(new Set([`"${tenantId}"`]));
      expect(await reader.query(query("select id from tenants"))).toEqual([{ id: tenantId }]);
      expect(await reader.query(query("select current_user as role"))).toEqual([{ role: "ectus_app" }]);
    }
  });
  await expect(
    database.inSnapshot({ tenantId, tables: ["users"], readers: 1 }, ({ readers: [reader] }) =>
      reader.query(query("update users set name = 'x'")),
    ),
  ).rejects.toMatchObject({ cause: { code: "25006" } });
});

test("values are written alike whatever the database's settings are", async () => {
  const [settings] = await database.inSnapshot(
    { tenantId, tables: [], readers: 2 },
    ({ readers: [, reader] }) =>
      (reader as SnapshotReader).query(
        query(`select '2026-03-01 12:00:00.5+02'::timestamptz::text as time, '\\x00ff'::bytea::text as bytes,
        (0.1::float8 + 0.2::float8)::text as double, current_setting('ectus.export_tenant') as tenant,
        current_setting('application_name') as name, current_setting('statement_timeout') as statement,
        current_setting('idle_in_transaction_session_timeout') as idle`),
      ),
  );
  expect(settings).toEqual({
    time: "2026-03-01 10:00:00.5+00",
    bytes: "\\x00ff",
    double: "0.30000000000000004",
    tenant: tenantId,
    name: "ectus-export",
    statement: "1d",
    idle: "0",
  });
});

test("a COPY has its settings", async () => {
  const settings = { "ectus.export_after_1": "it's", "ectus.export_until_1": 'a "b"' };
  const select =
    "select json_build_array(current_setting('ectus.export_after_1'), current_setting('ectus.export_until_1'))";
  const blocks = await database.inSnapshot({ tenantId, tables: [], readers: 1 }, ({ readers: [reader] }) =>
    collect(reader.copyRows({ ...copyOf(select, "ndjson"), settings })),
  );
  expect(JSON.parse(textOf(blocks))).toEqual(["it's", 'a "b"']);
});

test.each(["csv", "ndjson"] as const)("no rows as %s are no blocks", async (format) => {
  await database.inSnapshot(
    { tenantId: randomUUID(), tables: ["users"], readers: 1 },
    async ({ readers: [reader] }) => {
      expect(await collect(reader.copyRows(usersCopy(format)))).toEqual([]);
      expect(await collect(reader.copyRows(usersCopy(format)))).toEqual([]);
      expect(await countUsers(reader)).toBe(0);
    },
  );
});

test.each(["csv", "ndjson"] as const)("a row of 50 MB comes in pieces as %s", async (format) => {
  const value = "to_json('é' || repeat('0123456789', 5000000))";
  const select = `select * from (values (1, '1'::json), (2, ${value}), (3, '3')) v (n, value)`;
  const blockBytes = 1_000_000;
  await database.inSnapshot({ tenantId, tables: [], readers: 1 }, async ({ readers: [reader] }) => {
    let longest = 0;
    let pieces = 0;
    let rows = 0;
    let digest = 0n;
    let lastRow = "";
    const copy = copyOf(`select value from (${select}) v order by n`, format, blockBytes);
    for await (const block of reader.copyRows(copy)) {
      longest = Math.max(longest, block.bytes.length);
      if (!block.endsRow) pieces += 1;
      rows += block.rows;
      digest = BigInt.asUintN(64, digest + block.digest);
      lastRow = block.lastRow.toString();
    }
    expect({ longest, pieces, rows, lastRow }).toEqual({
      longest: blockBytes,
      pieces: 50,
      rows: 3,
      lastRow: format === "csv" ? '"3"' : "3",
    });
    const line = format === "csv" ? `'"' || replace(value::text, '"', '""') || '"'` : "value::text";
    const [counted] = await reader.query<{ digest: string }>(
      query(`select sum(hashtextextended(${line} collate "C", 0))::text as digest from (${select}) v`),
    );
    expect(digest).toBe(sumOfNumeric(counted?.digest ?? ""));
  });
});

test("notices among the rows are no rows", async () => {
  await open.owner.query(
    `create or replace function noisy(n int) returns int language plpgsql as $$
     begin raise warning 'row %', n; perform set_config('application_name', 'noisy ' || n, true); return n; end $$`,
  );
  const blocks = await database.inSnapshot({ tenantId, tables: [], readers: 1 }, ({ readers: [reader] }) =>
    collect(reader.copyRows(copyOf("select noisy(g) from generate_series(1, 2000) g", "csv", 100))),
  );
  expect(textOf(blocks)).toBe(Array.from({ length: 2_000 }, (_, index) => `"${index + 1}"\r\n`).join(""));
});

test("a reader that is slow makes PostgreSQL wait instead of filling the memory", async () => {
  const rows = 60_000;
  const select = `select to_json(repeat('x', 1000)) from generate_series(1, ${rows})`;
  let bytes = 0;
  await database.inSnapshot({ tenantId, tables: [], readers: 1 }, async ({ readers: [reader] }) => {
    let isFirst = true;
    for await (const block of reader.copyRows(copyOf(select, "ndjson", 65_536))) {
      bytes += block.bytes.length;
      if (!isFirst) continue;
      isFirst = false;
      // PostgreSQL has come to a halt, and long before the end.
      let sent = -1;
      await until(
        async () => {
          const { rows } = await open.owner.query<{ tuples: number }>(
            "select tuples_processed::int as tuples from pg_stat_progress_copy where datname = current_database()",
          );
          const before = sent;
          sent = rows[0]?.tuples ?? -1;
          return sent > 0 && sent === before;
        },
        10_000,
        100,
      );
      expect(sent).toBeLessThan(30_000);
    }
  });
  expect(bytes).toBe(rows * 1_003);
});

test("it does not need the pool", async () => {
  const { promise: done, resolve: finish } = Promise.withResolvers<void>();
  const busy = [1, 2].map(() => database.inTenant(tenantId, () => done));
  await until(async () => {
    const { rows } = await open.owner.query(
      "select from pg_stat_activity where state = 'idle in transaction' and application_name = 'ectus' and datname = current_database()",
    );
    return rows.length === 2;
  });
  const counted = await database.inSnapshot({ tenantId, tables: ["users"], readers: 3 }, ({ readers }) =>
    Promise.all(readers.map(countUsers)),
  );
  expect(counted).toEqual([userCount, userCount, userCount]);
  finish();
  await Promise.all(busy);
});

test("an id that is none, a table that is none and no readers are refused", async () => {
  const work = async (): Promise<never> => expect.unreachable();
  for (const options of [
    { tenantId: `${tenantId},${otherTenantId}`, tables: [], readers: 1 },
    { tenantId: "", tables: [], readers: 1 },
    { tenantId, tables: ['users" in share mode; --' as "users"], readers: 1 },
    { tenantId, tables: [], readers: 0 },
  ] as const)
    await expect(database.inSnapshot(options, work)).rejects.toThrow(/^(not|a snapshot)/);
});
