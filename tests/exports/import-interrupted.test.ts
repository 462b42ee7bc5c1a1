// Interrupts imports, and looks at what they leave.
import { Readable } from "node:stream";
import type { ImportSource } from "@ectus/database";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Connection, connectTo } from "../postgres/connect.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { type StallingProxy, startStallingProxy } from "../postgres/stalling-proxy.ts";
import { until } from "../postgres/until.ts";
import { type BagOfTenant, type BagOptions, bagOfTenant, sourceOf } from "./bag-of-tenant.ts";
import { type ImportTarget, openImportTarget, rowsOf } from "./import-target.ts";
import { type NastyTenant, nastyTenant } from "./nasty-tenant.ts";

let from: OpenTestDatabase;
let tenant: NastyTenant;
let target: ImportTarget;

beforeAll(async () => {
  from = await openTestDatabase();
  tenant = await nastyTenant(from.owner);
});
afterAll(() => from.close());
beforeEach(async () => {
  target = await openImportTarget();
});
afterEach(() => target.close());

const build = (options: BagOptions = {}): Promise<BagOfTenant> =>
  bagOfTenant(from.owner, tenant.id, { contents: tenant.contents, ...options });

describe("interrupted", () => {
  /** A source that gives half of a file and then waits, at its first reading or a later one. */
  function halting(
    bag: BagOfTenant,
    path: string,
    atReading = 1,
  ): ImportSource & { readonly halted: Promise<void> } {
    let readings = 0;
    const { promise: halted, resolve } = Promise.withResolvers<void>();
    const source = sourceOf(bag);
    return {
      halted,
      async read(wanted) {
        if (wanted !== path || ++readings < atReading) return source.read(wanted);
        const bytes = bag.files.get(path) as Buffer;
        let isSent = false;
        return new Readable({
          read() {
            if (isSent) resolve();
            else this.push(bytes.subarray(0, bytes.length / 2));
            isSent = true;
          },
        });
      },
    };
  }

  const messages = "data/tables/messages/part-00001.ndjson";

  test("by the end of its connection in the middle of a table, it leaves nothing", async () => {
    const bag = await build();
    const source = halting(bag, messages);
    const importing = target.run(bag, { source });
    const failed = expect(importing).rejects.toMatchObject({ code: "database_unavailable" });
    await source.halted;
    expect((await target.storedFor(tenant.id)).length).toBe(tenant.contents.size);
    await terminate();
    await failed;
    await target.expectNothingLeft();
    await target.run(bag);
  });

  test("by the end of its connection while a file is written, it leaves nothing", async () => {
    const bag = await build();
    const source = halting(bag, `data/files/${[...tenant.contents.keys()].at(-1)}.bin`);
    const failed = expect(target.run(bag, { source })).rejects.toMatchObject({
      code: "database_unavailable",
    });
    await source.halted;
    await terminate();
    await failed;
    await target.expectNothingLeft();
  });

  const audit = "data/audit/part-00001.ndjson";

  // The audit log is read for its months first, and for its rows last.
  test.each([
    [messages, 1],
    [audit, 1],
    [audit, 2],
  ])("by its signal while it reads %s for time %i, it leaves nothing", async (path, atReading) => {
    const bag = await build();
    const controller = new AbortController();
    const source = halting(bag, path, atReading);
    const failed = expect(target.run(bag, { source, signal: controller.signal })).rejects.toThrow("enough");
    await source.halted;
    controller.abort(new Error("enough"));
    await failed;
    await target.expectNothingLeft();
  });

  test("by its signal while the server works, it ends at once and leaves nothing", async () => {
    await lingerAt("users");
    const controller = new AbortController();
    const failed = expect(target.run(await build(), { signal: controller.signal })).rejects.toThrow("enough");
    await until(async () => (await backends("wait_event = 'PgSleep'")) > 0);
    controller.abort(new Error("enough"));
    await failed;
    await target.expectNothingLeft();
  });

  test("when its connection breaks as it commits, what the server did is what it says", async () => {
    // A deferred trigger runs within the commit.
    await target.database.owner.query(`create function linger() returns trigger language plpgsql as $$
      begin perform pg_sleep(60); return new; end $$`);
    await target.database.owner.query(
      "create constraint trigger linger after insert on tenants deferrable initially deferred for each row execute function linger()",
    );
    const failed = expect(target.run(await build())).rejects.toMatchObject({ code: "database_unavailable" });
    await until(async () => (await backends("wait_event = 'PgSleep'")) > 0);
    await terminate();
    await failed;
    await target.expectNothingLeft();
  });

  test("by its signal while nothing comes from the server any more, it ends all the same", async () => {
    const proxy = await startStallingProxy(target.database.ownerUrl);
    try {
      await lingerAt("users");
      const controller = new AbortController();
      const bag = await build({ tables: ["tenants", "users"], contents: null });
      const ownerUrl = proxy.through(target.database.ownerUrl);
      const failed = expect(target.run(bag, { ownerUrl, signal: controller.signal })).rejects.toThrow(
        "enough",
      );
      await until(async () => (await backends("wait_event = 'PgSleep'")) > 0);
      proxy.stall();
      controller.abort(new Error("enough"));
      await failed;
    } finally {
      await proxy.close();
    }
  });

  describe("by the loss of its connection while the server commits", () => {
    let proxy: StallingProxy;
    let holder: Connection;
    beforeEach(async () => {
      proxy = await startStallingProxy(target.database.ownerUrl);
      holder = await connectTo(target.database.ownerUrl);
      // A deferred trigger runs within the commit, which waits for the holder there.
      await holder.query("select pg_advisory_lock(1)");
      await target.database.owner.query(`create function wait_for_holder() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock(1); return new; end $$`);
      await target.database.owner.query(
        "create constraint trigger wait_for_holder after insert on tenants deferrable initially deferred for each row execute function wait_for_holder()",
      );
    });
    afterEach(async () => {
      await holder.end();
      await proxy.close();
    });

    const isCommitting = async () => (await backends("wait_event = 'advisory'")) > 0;

    test("it says so if the server has committed, and keeps the files", async () => {
      const bag = await build();
      const importing = target.run(bag, { ownerUrl: proxy.through(target.database.ownerUrl) });
      await until(isCommitting);
      proxy.cut();
      await holder.query("select pg_advisory_unlock(1)");
      expect(await importing).toMatchObject({ tenantId: tenant.id, files: tenant.contents.size });
      expect(await rowsOf(target.database, tenant.id)).toEqual(await rowsOf(from, tenant.id));
      expect(await target.storedFor(tenant.id)).toHaveLength(tenant.contents.size);
    });

    test("and of the database, it says that nobody knows, and keeps the files", async () => {
      const failed = expect(
        target.run(await build(), { ownerUrl: proxy.through(target.database.ownerUrl) }),
      ).rejects.toMatchObject({
        code: "database_unavailable",
        message: expect.stringContaining(`Whether the tenant ${tenant.id} is there now is not known`),
      });
      await until(isCommitting);
      await proxy.close();
      await failed;
      expect(await target.storedFor(tenant.id)).toHaveLength(tenant.contents.size);
      proxy = await startStallingProxy(target.database.ownerUrl);
    });
  });

  test("by a migration that has a table locked, it ends when it has waited and leaves nothing", async () => {
    const { owner } = target.database;
    // Files come first, and the tables after them.
    const [id] = [...tenant.contents.keys()];
    const bag = await build();
    const source = sourceOf(bag);
    await owner.query("begin");
    const refused = expect(
      target.run(bag, {
        lockTimeoutMs: 100,
        source: {
          async read(path) {
            if (path.includes(String(id))) await owner.query("lock table usage in share mode");
            return source.read(path);
          },
        },
      }),
    ).rejects.toMatchObject({ code: "import_refused", message: expect.stringContaining("locked") });
    await refused;
    await owner.query("rollback");
    await target.expectNothingLeft();
  });

  test("by nothing when it waits longer than the database lets a session be idle or a transaction take", async () => {
    const { owner, databaseName } = target.database;
    const { rows } = await owner.query(
      "select name from pg_settings where name in ('idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')",
    );
    expect(rows.length).toBeGreaterThanOrEqual(2);
    for (const { name } of rows) await owner.query(`alter database ${databaseName} set ${name} = '50ms'`);
    const bag = await build();
    const source = sourceOf(bag);
    const file = `data/files/${[...tenant.contents.keys()].at(-1)}.bin`;
    await target.run(bag, {
      source: {
        async read(path) {
          if (path === file || path === messages)
            await until(async () => (await backends("now() - state_change < '200ms'")) === 0);
          return source.read(path);
        },
      },
    });
    expect(await rowsOf(target.database, tenant.id)).toEqual(await rowsOf(from, tenant.id));
  });

  test("a second import of the same tenant is refused while the first goes on", async () => {
    const bag = await build();
    const source = halting(bag, messages);
    const controller = new AbortController();
    const first = expect(target.run(bag, { source, signal: controller.signal })).rejects.toThrow();
    await source.halted;
    await expect(target.run(bag)).rejects.toThrow("another process imports the tenant");
    // Nor did it take the files of the first.
    expect((await target.storedFor(tenant.id)).length).toBe(tenant.contents.size);
    controller.abort();
    await first;
  });

  async function lingerAt(table: string): Promise<void> {
    const { owner } = target.database;
    await owner.query(`create function linger() returns trigger language plpgsql as $$
      begin perform pg_sleep(60); return new; end $$`);
    await owner.query(
      `create trigger linger before insert on ${table} for each row execute function linger()`,
    );
  }

  async function backends(condition: string): Promise<number> {
    const { rows } = await target.database.owner.query(
      `select count(*)::integer as n from pg_stat_activity where application_name = 'ectus-import' and datname = $1 and ${condition}`,
      [target.database.databaseName],
    );
    return rows[0].n;
  }

  async function terminate(): Promise<void> {
    const { rows } = await target.database.owner.query(
      "select pg_terminate_backend(pid, 5000) as ended from pg_stat_activity where application_name = 'ectus-import' and datname = $1",
      [target.database.databaseName],
    );
    expect(rows).toEqual([{ ended: true }]);
  }
});
