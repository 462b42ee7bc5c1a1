import { Registry } from "@ectus/metrics";
import { createInstruments, type Instruments } from "@ectus/monitoring";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { connectTo } from "../../../tests/postgres/connect.ts";
import { countedIn, measuredValue } from "../../../tests/postgres/measured.ts";
import { newTenant } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { startStallingProxy } from "../../../tests/postgres/stalling-proxy.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { sendCancelRequest } from "./cancel-request.ts";
import { type Database, openDatabase } from "./database.ts";
import { databaseMetrics } from "./metrics.ts";
import { type CopyRows, inSnapshot, type SnapshotReader } from "./snapshot.ts";
import type { SnapshotConnections } from "./snapshot-connection.ts";

let testDatabase: TestDatabase;
let superuser: pg.Client;
let owner: pg.Client;
let registry: Registry;
let instruments: Instruments;
let database: Database;
let tenantId: string;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  superuser = await connectTo(inject("superuserUrl"));
  owner = await connectTo(testDatabase.ownerUrl);
});
beforeEach(async () => {
  registry = new Registry();
  instruments = createInstruments(registry);
  database = openThrough(testDatabase.appUrl);
  tenantId = (await newTenant(database)).id;
});
afterEach(async () => {
  // Whatever happened, nothing of it is left.
  await until(async () => (await backends()).length === 0);
  await database.close();
});
afterAll(async () => {
  await owner.end();
  await superuser.end();
  await testDatabase.drop();
});

function openThrough(url: string): Database {
  return openDatabase({
    url,
    poolSize: 1,
    log: recordingLog().log,
    instruments,
  });
}

interface Backend {
  readonly pid: number;
  readonly query: string;
  readonly wait_event: string | null;
}

/** Those of snapshots. */
async function backends(): Promise<readonly Backend[]> {
  const { rows } = await superuser.query<Backend>(
    "select pid, query, wait_event from pg_stat_activity where application_name = 'ectus-export' and datname = $1",
    [testDatabase.databaseName],
  );
  return rows;
}

const terminate = async (query: string): Promise<void> => {
  const { rowCount } = await superuser.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'ectus-export' and datname = $1 and query like $2",
    [testDatabase.databaseName, query],
  );
  expect(rowCount).toBe(1);
};

const query = (text: string) => ({ text, values: [], operation: "test", table: "none" as const });
const copyOf = (select: string, blockBytes = 10_000): CopyRows => ({
  text: `copy (${select}) to stdout (format csv, force_quote *)`,
  table: "none",
  settings: {},
  format: "csv",
  blockBytes,
});
/** Lasts for longer than any test. PostgreSQL begins to send only when a function in `from` has given all its rows. */
const endless = copyOf("select generate_series(1, 1000000000), repeat('x', 100)");
const sleep = (reader: SnapshotReader | undefined) => reader?.query(query("select pg_sleep(600)"));

async function readAll(reader: SnapshotReader, copy: CopyRows): Promise<number> {
  let rows = 0;
  for await (const block of reader.copyRows(copy)) rows += block.rows;
  return rows;
}

/** Reads until there were some rows, and then on. */
async function readEndless(reader: SnapshotReader, onRows: () => void): Promise<void> {
  for await (const _ of reader.copyRows(endless)) onRows();
}

const once = (work: () => Promise<unknown>) => {
  let isDone = false;
  return () => {
    if (!isDone) void work();
    isDone = true;
  };
};

test("a backend that is terminated ends all readers, with one error", async () => {
  const outcomes: unknown[] = [];
  const failed = database.inSnapshot({ tenantId, tables: ["users"], readers: 3 }, async ({ readers }) => {
    const [first, second] = readers;
    const work = [
      readEndless(
        first,
        once(() => terminate("copy%")),
      ),
      sleep(second),
      sleep(readers[2]),
    ];
    for (const { reason } of (await Promise.allSettled(work)) as PromiseRejectedResult[])
      outcomes.push(reason);
  });
  await expect(failed).rejects.toMatchObject({ code: "database_unavailable" });
  expect(outcomes).toHaveLength(3);
  expect(new Set(outcomes).size).toBe(1);
  expect(await failed.catch((error) => error)).toBe(outcomes[0]);
  expect(countedIn(registry, "db_connection_errors_total")).toEqual(["lost: 1"]);
});

test("a reader whose connection is lost while it has nothing to do ends the others, too", async () => {
  const failed = database.inSnapshot({ tenantId, tables: ["users"], readers: 2 }, async ({ readers }) => {
    const slept = sleep(readers[1]);
    await until(async () => (await backends()).some(({ wait_event }) => wait_event === "PgSleep"));
    await terminate("%pg_export_snapshot%");
    await slept;
  });
  await expect(failed).rejects.toMatchObject({ code: "database_unavailable" });
});

test("an abort ends what PostgreSQL does, with the reason of the abort", async () => {
  const controller = new AbortController();
  const reason = new Error("canceled by its owner");
  const failed = database.inSnapshot(
    { tenantId, tables: ["users"], readers: 2, signal: controller.signal },
    async ({ readers: [first, second] }) => {
      const abort = once(async () => {
        await until(async () => (await backends()).some(({ wait_event }) => wait_event === "PgSleep"));
        controller.abort(reason);
      });
      await Promise.all([readEndless(first, abort), sleep(second)]);
    },
  );
  await expect(failed).rejects.toBe(reason);
  expect(measuredValue(registry, "db_query_errors_total", { operation: "test", reason: "canceled" })).toBe(1);
  expect(countedIn(registry, "db_connection_errors_total")).toEqual([]);
});

test("an abort before it begins, or while it waits for a lock, is told as such", async () => {
  const reason = new Error("too late");
  const work = async (): Promise<never> => expect.unreachable();
  const options = { tenantId, tables: ["users"], readers: 2 } as const;
  await expect(database.inSnapshot({ ...options, signal: AbortSignal.abort(reason) }, work)).rejects.toBe(
    reason,
  );
  await owner.query("begin; lock table users in access exclusive mode");
  const controller = new AbortController();
  const failed = database.inSnapshot({ ...options, signal: controller.signal }, work);
  await until(async () => (await backends()).some(({ query }) => query.startsWith("lock table")));
  controller.abort(reason);
  await expect(failed).rejects.toBe(reason);
  await owner.query("rollback");
});

test("a statement that fails after some rows rejects with PostgreSQL's error, also for the others", async () => {
  const outcomes: unknown[] = [];
  const failed = database.inSnapshot(
    { tenantId, tables: [], readers: 2 },
    async ({ readers: [first, second] }) => {
      const failing = copyOf("select 1 / (50000 - g) from generate_series(1, 100000) g", 1_000);
      const work = [readAll(first, failing), sleep(second)];
      for (const { reason } of (await Promise.allSettled(work)) as PromiseRejectedResult[])
        outcomes.push(reason);
    },
  );
  await expect(failed).rejects.toMatchObject({ code: "22012" });
  expect(outcomes.map((error) => (error as pg.DatabaseError).code)).toEqual(["22012", "22012"]);
  expect(
    measuredValue(registry, "db_query_errors_total", { operation: "export_copy", reason: "invalid_data" }),
  ).toBe(1);
  expect(countedIn(registry, "db_connection_errors_total")).toEqual([]);
});

test("what is no COPY to the client, or not of the format, is an error and not a wait", async () => {
  for (const text of [
    "select 1",
    "copy users from stdin",
    "copy (select 1, 2) to stdout (format binary)",
    "copy (select 1) to stdout",
    "copy (select null::text) to stdout (format binary)",
    "no statement",
    "",
  ])
    await expect(
      database.inSnapshot({ tenantId, tables: [], readers: 1 }, ({ readers: [reader] }) =>
        readAll(reader, { ...copyOf(""), text, format: "ndjson" }),
      ),
      text,
    ).rejects.toThrow();
});

test("a COPY that is left ends the snapshot", async () => {
  const failed = database.inSnapshot(
    { tenantId, tables: [], readers: 2 },
    async ({ readers: [first, second] }) => {
      const slept = sleep(second);
      for await (const _ of first.copyRows(endless)) break;
      await slept;
    },
  );
  await expect(failed).rejects.toThrow("a COPY of a snapshot was not read to its end");
  // Also when nobody asks for anything any more.
  const silent = database.inSnapshot({ tenantId, tables: [], readers: 1 }, async ({ readers: [reader] }) => {
    for await (const _ of reader.copyRows(endless)) break;
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  });
  await expect(silent).rejects.toThrow("a COPY of a snapshot was not read to its end");
});

test("the error for which a reader leaves is told, and not that it left", async () => {
  const own = new Error("the disk is full");
  const failed = database.inSnapshot({ tenantId, tables: [], readers: 3 }, ({ readers }) => {
    const [first, second, third = first] = readers;
    return Promise.all([
      sleep(second),
      readAll(third, copyOf("select pg_sleep(600)")),
      (async () => {
        try {
          for await (const _ of first.copyRows(endless)) {
            await until(async () => {
              const all = await backends();
              return all.filter(({ wait_event }) => wait_event === "PgSleep").length === 2;
            });
            throw own;
          }
        } finally {
          // As something else is closed.
          for (let turn = 0; turn < 50; turn++) await undefined;
        }
      })(),
    ]);
  });
  await expect(failed).rejects.toBe(own);
});

test("work that ends while a COPY is still read is an error", async () => {
  const failed = database.inSnapshot({ tenantId, tables: [], readers: 1 }, async ({ readers: [reader] }) => {
    await reader.copyRows(endless)[Symbol.asyncIterator]().next();
  });
  await expect(failed).rejects.toThrow("must be read to its end");
});

test("a second statement on a reader that is busy with a COPY is an error", async () => {
  const failed = database.inSnapshot({ tenantId, tables: [], readers: 1 }, async ({ readers: [reader] }) => {
    for await (const _ of reader.copyRows(endless)) await reader.query(query("select 1"));
  });
  await expect(failed).rejects.toThrow("must be read to its end");
});

test("no limit of the database on transactions ends it", async ({ skip }) => {
  const { rows } = await owner.query("select from pg_settings where name = 'transaction_timeout'");
  if (rows.length === 0) return skip("PostgreSQL has it from version 17 on");
  await owner.query(`alter database ${testDatabase.databaseName} set transaction_timeout = '200ms'`);
  try {
    const limited = openThrough(testDatabase.appUrl);
    const slept = limited.inSnapshot({ tenantId, tables: [], readers: 2 }, async ({ readers: [, second] }) =>
      second?.query(query("select pg_sleep(0.5)")),
    );
    await expect(slept).resolves.toHaveLength(1);
  } finally {
    await owner.query(`alter database ${testDatabase.databaseName} reset transaction_timeout`);
  }
});

test("a database that is closed ends its snapshots", async () => {
  const closing = openThrough(testDatabase.appUrl);
  const failed = closing.inSnapshot(
    { tenantId, tables: [], readers: 2 },
    async ({ readers: [first, second] }) => {
      await Promise.all([
        readEndless(
          first,
          once(() => closing.close()),
        ),
        sleep(second),
      ]);
    },
  );
  await expect(failed).rejects.toMatchObject({ code: "database_unavailable" });
});

test("a server that cannot be reached is told, and counted", async () => {
  const proxy = await startStallingProxy(testDatabase.appUrl);
  const url = proxy.through(testDatabase.appUrl);
  await proxy.close();
  const away = openThrough(url);
  await expect(
    away.inSnapshot({ tenantId, tables: [], readers: 1 }, async () => expect.unreachable()),
  ).rejects.toMatchObject({ code: "database_unavailable" });
  await away.close();
  expect(countedIn(registry, "db_connection_errors_total")).toEqual(["refused: 1"]);
});

test("connections that are cut at any moment end it with an error, or come too late", async () => {
  const proxy = await startStallingProxy(testDatabase.appUrl);
  const through = openThrough(proxy.through(testDatabase.appUrl));
  let finished = 0;
  for (let cutAfterMs = 0; cutAfterMs < 60; cutAfterMs += 4) {
    const cut = setTimeout(() => proxy.cut(), cutAfterMs);
    try {
      await through.inSnapshot({ tenantId, tables: ["users"], readers: 3 }, ({ readers }) =>
        Promise.all(
          readers.map((reader) =>
            readAll(reader, copyOf("select repeat('x', 100) from generate_series(1, 3000)")),
          ),
        ),
      );
      finished += 1;
    } catch (error) {
      expect(error).toMatchObject({ code: "database_unavailable" });
    }
    clearTimeout(cut);
  }
  expect(finished).toBeLessThan(15);
  await through.close();
  await proxy.close();
});

/** As a database makes them, but for what a test changes. */
function connections(url: string, changes: Partial<SnapshotConnections> = {}): SnapshotConnections {
  const log = recordingLog().log;
  return {
    createClient: () => new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 }),
    checkRole: async () => {},
    cancel: (client) => sendCancelRequest(client, { connectionString: testDatabase.appUrl }, 1_000),
    onLost: () => {},
    metrics: databaseMetrics({
      instruments,
      attributes: {},
      slowQueryMs: 500,
      log,
    }),
    outside: (work) => work(),
    silenceMs: 100,
    ...changes,
  };
}

/** Runs something before the second reader goes on from the snapshot of the first. */
function beforeSecondReader(url: string, work: () => Promise<void>): () => pg.Client {
  return () => {
    const client = new pg.Client({ connectionString: url });
    const send = client.query.bind(client) as (config: pg.QueryConfig) => Promise<pg.QueryResult>;
    const query = async (config: pg.QueryConfig): Promise<pg.QueryResult> => {
      if (config.text.startsWith("set transaction snapshot")) await work();
      return send(config);
    };
    return Object.assign(client, { query });
  };
}

test("what is committed between the first reader and the second is in neither", async () => {
  const createClient = beforeSecondReader(testDatabase.appUrl, async () => {
    await owner.query(
      "insert into users (tenant_id, id, name, email) values ($1, gen_random_uuid(), 'late', 'late@example.org')",
      [tenantId],
    );
  });
  const counts = await inSnapshot(
    connections(testDatabase.appUrl, { createClient }),
    { tenantId, tables: ["users"], readers: 2 },
    ({ readers }) =>
      Promise.all(readers.map((reader) => reader.query(query("select count(*)::int from users")))),
  );
  expect(counts).toEqual([[{ count: 0 }], [{ count: 0 }]]);
  expect((await owner.query("select from users where tenant_id = $1", [tenantId])).rowCount).toBe(1);
});

async function waitsForLock(client: pg.Client): Promise<boolean> {
  const { processID } = client as unknown as { readonly processID: number };
  const { rows } = await superuser.query("select from pg_locks where pid = $1 and not granted", [processID]);
  return rows.length > 0;
}

test("a migration that queues up between two readers goes first, and the snapshot is taken after it", async () => {
  const migration = await connectTo(testDatabase.ownerUrl);
  let altered: Promise<unknown> | undefined;
  let attempts = 0;
  const createClient = beforeSecondReader(testDatabase.appUrl, async () => {
    attempts += 1;
    altered ??= migration.query("alter table users add column nickname text default 'none'");
    await until(async () => attempts > 1 || (await waitsForLock(migration)));
  });
  const rows = await inSnapshot(
    connections(testDatabase.appUrl, { createClient }),
    { tenantId, tables: ["users"], readers: 2 },
    async ({ readers: [, second] }) => {
      await altered;
      return second?.query(query("select nickname from users limit 0"));
    },
  );
  expect(rows).toEqual([]);
  expect(attempts).toBe(2);
  expect(
    measuredValue(registry, "db_query_errors_total", { operation: "lock", reason: "lock_timeout" }),
  ).toBe(1);
  await owner.query("alter table users drop column nickname");
  await migration.end();
});

test("a migration that keeps its locks has the snapshot given up, with the reason", async () => {
  await owner.query("begin; lock table users in access exclusive mode");
  const startedMs = performance.now();
  const failed = inSnapshot(
    connections(testDatabase.appUrl, { lockTimeoutMs: 50 }),
    { tenantId, tables: ["users"], readers: 2 },
    async () => expect.unreachable(),
  );
  await expect(failed).rejects.toMatchObject({
    code: "database_unavailable",
    message: expect.stringContaining("could not be locked for reading in 5 attempts"),
    cause: { code: "55P03" },
  });
  expect(performance.now() - startedMs).toBeLessThan(10_000);
  await owner.query("rollback");
});

test("a server that falls silent is given up, and not one whose rows are read slowly", async () => {
  const proxy = await startStallingProxy(testDatabase.appUrl);
  const changes = { statementTimeoutMs: 1_000, silenceMs: 500 };
  const options = { tenantId, tables: [], readers: 1 } as const;
  const through = connections(proxy.through(testDatabase.appUrl), changes);
  const startedMs = performance.now();
  const failed = inSnapshot(through, options, async ({ readers: [reader] }) => {
    for await (const _ of reader.copyRows(endless)) proxy.stall();
  });
  await expect(failed).rejects.toMatchObject({ code: "database_unavailable" });
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  proxy.resume();
  await proxy.close();

  // A bound of a second in all, which its reader takes alone.
  const slowly = connections(testDatabase.appUrl, { statementTimeoutMs: 60_000, silenceMs: -59_000 });
  const rows = await inSnapshot(slowly, options, async ({ readers: [reader] }) => {
    let rows = 0;
    let isFirst = true;
    for await (const block of reader.copyRows(
      copyOf("select repeat('x', 1000) from generate_series(1, 50000)"),
    )) {
      rows += block.rows;
      if (isFirst) await superuser.query("select pg_sleep(2)");
      isFirst = false;
    }
    return rows;
  });
  expect(rows).toBe(50_000);
});
