// Imports beside what else an instance does: the partitions by month, which all tenants share, and the work of other tenants.
import { createHash } from "node:crypto";
import { inspectDatabase } from "@ectus/database";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { connectTo } from "../postgres/connect.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { type BagOfTenant, type BagOptions, bagOfTenant, sourceOf } from "./bag-of-tenant.ts";
import { type ImportTarget, openImportTarget, rowsOf } from "./import-target.ts";
import { askForExport, runNextExport } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

let from: OpenTestDatabase;
let tenant: SeededTenant;
let target: ImportTarget;
const contents = new Map<string, Buffer>();

beforeAll(async () => {
  from = await openTestDatabase();
  const storage = {
    async write(_tenant: string, id: string, source: AsyncIterable<Uint8Array>) {
      const bytes = Buffer.concat(await Array.fromAsync(source));
      contents.set(id, bytes);
      return { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
    },
  };
  tenant = await seedTenant(from.owner, storage, { completions: 20, usage: 60 });
});
afterAll(() => from.close());
beforeEach(async () => {
  target = await openImportTarget();
});
afterEach(() => target.close());

const build = (options: BagOptions = {}): Promise<BagOfTenant> =>
  bagOfTenant(from.owner, tenant.id, { contents, ...options });

async function partitions() {
  const { appUrl: url, ownerUrl } = target.database;
  return (await inspectDatabase({ url, ownerUrl, monthsAhead: 12 })).partitions;
}

const nothingInDefaults = [
  { table: "usage", missingMonths: [], defaultHasRows: false },
  { table: "audit_log", missingMonths: [], defaultHasRows: false },
];

test.each(["ndjson", "csv"] as const)(
  "months from before the instance was get partitions by an import of %s, and the default ones stay empty",
  async (format) => {
    const bag = await build({ format, compression: "gzip", rowsPerPart: 9 });
    await target.run(bag);
    expect(await partitions()).toEqual(nothingInDefaults);
    expect(await rowsOf(target.database, tenant.id)).toEqual(await rowsOf(from, tenant.id));
    const { rows } = await target.database.owner.query(
      "select distinct tableoid::regclass::text as part from usage order by 1",
    );
    expect(rows.map(({ part }) => part)).toEqual([
      "usage_2026_07",
      "usage_2026_08",
      "usage_2026_09",
      "usage_2026_10",
    ]);
    await expect(target.database.owner.query("truncate audit_log_2026_09")).rejects.toThrow("append-only");
  },
);

test.each(["usage", "audit_log"])(
  "a bag that has a row of %s in a month to come is refused, or that month would never get its partition",
  async (table) => {
    await from.owner.query("begin");
    try {
      await from.owner.query(
        `insert into ${table} select late.* from ${table} row_of, jsonb_populate_record(row_of, '{"created_at": "2031-05-06T00:00:00Z"}') late
         where row_of.tenant_id = $1 limit 1`,
        [tenant.id],
      );
      const bag = await build();
      await expect(target.run(bag)).rejects.toMatchObject({
        code: "import_refused",
        message: expect.stringContaining(`its table ${table} has rows of 2031-05, which is to come`),
      });
      await target.expectNothingLeft();
      expect(await partitions()).toEqual(nothingInDefaults);
    } finally {
      await from.owner.query("rollback");
    }
  },
);

test("an import goes on without partitions while an export reads the tables", async () => {
  const reader = await connectTo(target.database.ownerUrl);
  try {
    await reader.query("begin");
    await reader.query("lock table usage in access share mode");
    const recorded = recordingLog();
    await target.run(await build(), { log: recorded.log });
    expect(recorded.lines).toContainEqual(
      expect.objectContaining({ msg: expect.stringContaining("partitions of the months") }),
    );
    expect(await rowsOf(target.database, tenant.id)).toEqual(await rowsOf(from, tenant.id));
  } finally {
    await reader.end();
  }
});

test("while an import has its rows written, other tenants write theirs, are exported and imported", async () => {
  const { owner, database } = target.database;
  const other = await seedTenant(owner, target.storage, { completions: 3 });
  const bag = await build();
  const source = sourceOf(bag);
  let whileOpen = 0;
  await target.run(bag, {
    source: {
      async read(path) {
        // The audit log is the last that is written, after it was read for its months: all tables are locked then.
        if (path.startsWith("data/audit/") && whileOpen++ === 1) {
          await owner.query("set lock_timeout = '200ms'");
          await seedTenant(owner, target.storage, { completions: 3 });
          await askForExport(database, other.id);
          await runNextExport(database, target.storage);
          await target.run(await build(), { asNewTenant: true });
        }
        return source.read(path);
      },
    },
  });
  expect(whileOpen).toBe(2);
  expect(await rowsOf(target.database, tenant.id)).toEqual(await rowsOf(from, tenant.id));
});
