// Imports bags into real databases and a real storage, and looks at what is there afterwards.
import { randomBytes } from "node:crypto";
import type { Compression, RowFormat } from "@ectus/bag";
import { migrate, platformTenantId } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { connectTo } from "../postgres/connect.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { urlAs } from "../postgres/template.ts";
import { type BagOfTenant, type BagOptions, bagOfTenant } from "./bag-of-tenant.ts";
import { type ImportTarget, openImportTarget, reportOf, rowsOf, withTable } from "./import-target.ts";
import { allowAnyScopes, type NastyTenant, nastyTenant } from "./nasty-tenant.ts";

const { log } = recordingLog();
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

describe.each<RowFormat>(["ndjson", "csv"])("a bag of %s", (format) => {
  test.each<Compression>(["none", "gzip", "zstd"])(
    "compressed by %s has the same values after its import",
    async (compression) => {
      const bag = await build({ format, compression, rowsPerPart: 7 });
      const seen: number[] = [];
      const result = await target.run(bag, {
        onProgress: ({ bytes, totalBytes }) => {
          seen.push(bytes);
          expect(bytes).toBeLessThanOrEqual(totalBytes);
          if (seen.length === 1) expect(totalBytes).toBeGreaterThan(10_000);
        },
      });
      const before = await rowsOf(from, tenant.id);
      expect(await rowsOf(target.database, tenant.id)).toEqual(before);
      expect(Object.values(before).every((rows) => rows.length > 0)).toBe(true);
      expect(result).toMatchObject({
        tenantId: tenant.id,
        tenantName: bag.document.tenant.name,
        exportId: bag.document.id,
        files: tenant.contents.size,
        unusableKeys: before.api_keys?.length,
      });
      expect(Object.fromEntries(result.tables.map(({ name, rows }) => [name, rows]))).toEqual(
        Object.fromEntries(Object.entries(before).map(([name, rows]) => [name, rows.length])),
      );
      expect(await target.storedFor(tenant.id)).toEqual([...tenant.contents.keys()].sort());
      for (const [id, bytes] of tenant.contents)
        expect(Buffer.concat(await (await target.storage.read(tenant.id, id)).toArray())).toEqual(bytes);
      const payload = [...bag.files.entries()].filter(([path]) => path.startsWith("data/"));
      expect(seen.at(-1)).toBe(payload.reduce((sum, [, bytes]) => sum + bytes.length, 0));
    },
  );
});

test.each<RowFormat>(["ndjson", "csv"])(
  "settings of the database change nothing in the values of %s",
  async (format) => {
    for (const setting of [
      "timezone = 'America/St_Johns'",
      "datestyle = 'SQL, DMY'",
      "intervalstyle = 'sql_standard'",
      "bytea_output = 'escape'",
      "default_transaction_isolation = 'serializable'",
      "statement_timeout = '30s'",
      "search_path = 'pg_temp'",
    ])
      await target.database.owner.query(`alter database ${target.database.databaseName} set ${setting}`);
    await target.run(await build({ format }));
    expect(await rowsOf(target.database, tenant.id)).toEqual(await rowsOf(from, tenant.id));
  },
);

test("the result has the tenant's name that is in its row, whatever export.json calls it", async () => {
  const bag = await build();
  const document = { ...bag.document, tenant: { ...bag.document.tenant, name: "Somebody else" } };
  expect(await target.run({ ...bag, document })).toMatchObject({ tenantName: bag.document.tenant.name });
});

test("imported as a new tenant twice, there are two tenants with the same rows, each its own", async () => {
  const bag = await build();
  await target.run(bag);
  const [one, two] = [
    await target.run(bag, { asNewTenant: true }),
    await target.run(bag, { asNewTenant: true }),
  ];
  expect(new Set([tenant.id, one.tenantId, two.tenantId]).size).toBe(3);
  const before = await rowsOf(from, tenant.id);
  for (const { tenantId } of [one, two]) {
    expect(await rowsOf(target.database, tenantId)).toEqual(before);
    expect(await target.storedFor(tenantId)).toHaveLength(tenant.contents.size);
  }
  expect(await rowsOf(target.database, tenant.id)).toEqual(before);
});

test("the application sees imported rows with their tenant in scope, and only then", async () => {
  const bag = await build();
  const { tenantId } = await target.run(bag, { asNewTenant: true });
  await target.run(bag);
  const other = await target.database.database.inTenant(tenant.id, async (tx) =>
    Promise.all(
      (["api_keys", "users", "completions", "messages", "files", "usage", "audit_log"] as const).map(
        async (table) => {
          const rows = await tx.selectFrom(table).select("tenant_id").distinct().execute();
          return rows.map(({ tenant_id }) => tenant_id);
        },
      ),
    ),
  );
  expect(other).toEqual(Array.from({ length: 7 }, () => [tenant.id]));
  const seen = await target.database.database.inTenant(tenantId, (tx) =>
    tx
      .selectFrom("messages")
      .select(({ fn }) => fn.countAll().as("rows"))
      .executeTakeFirstOrThrow(),
  );
  expect(Number(seen.rows)).toBe(bag.document.tables.find(({ name }) => name === "messages")?.rows);
});

test("no imported key has the digest of the one that was exported, nor of another", async () => {
  await target.run(await build());
  const digests = async ({ owner }: OpenTestDatabase): Promise<string[]> =>
    (await owner.query("select encode(digest, 'hex') as d from api_keys")).rows.map(({ d }) => d);
  const [before, after] = [await digests(from), await digests(target.database)];
  expect(new Set([...before, ...after]).size).toBe(before.length * 2);
});

test("the audit log of the platform and of the tenant say what was imported and who signed it", async () => {
  const bag = await build();
  await target.run(bag);
  const { rows } = await target.database.owner.query(
    "select tenant_id, actor_type, action, target_type, target_id, details from audit_log where action in ('tenant.import_started', 'tenant.imported', 'export.imported') order by id",
  );
  const details = {
    export_id: bag.document.id,
    exported_tenant_id: tenant.id,
    bag_digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    signature: "valid",
    signed_by: "the-key",
  };
  const ofTenant = {
    tenant_id: platformTenantId,
    actor_type: "operator",
    target_type: "tenant",
    target_id: tenant.id,
  };
  expect(rows).toEqual([
    { ...ofTenant, action: "tenant.import_started", details },
    { ...ofTenant, action: "tenant.imported", details },
    {
      tenant_id: tenant.id,
      actor_type: "operator",
      action: "export.imported",
      target_type: "export",
      target_id: bag.document.id,
      details,
    },
  ]);
});

describe("an import is refused and leaves nothing", () => {
  test.each(["users", "messages", "usage", "token_budgets", "tenants"])(
    "when the digest of %s is another",
    async (name) => {
      const bag = withTable(await build(), name, () => ({ digest: "0123456789abcdef" }));
      await expect(target.run(bag)).rejects.toMatchObject({
        code: "import_refused",
        message: expect.stringMatching(
          new RegExp(`table ${name} would have \\d+ rows .* 0123456789abcdef\\.`),
        ),
      });
      await target.expectNothingLeft();
    },
  );

  test("when the audit log was changed", async () => {
    const bag = await build();
    const path = "data/audit/part-00001.ndjson";
    const text = String(bag.files.get(path)).replace('"actor_type":"system"', '"actor_type":"operator"');
    bag.files.set(path, Buffer.from(text));
    await expect(target.run(bag)).rejects.toThrow("audit_log");
    await target.expectNothingLeft();
  });

  test("when a part has fewer rows than it should", async () => {
    const bag = await build();
    const path = "data/tables/users/part-00001.ndjson";
    const lines = String(bag.files.get(path)).split("\n");
    bag.files.set(path, Buffer.from(lines.slice(1).join("\n")));
    await expect(target.run(bag)).rejects.toThrow(
      `${path} has ${lines.length - 2} rows, and export.json says ${lines.length - 1}.`,
    );
    await target.expectNothingLeft();
  });

  test("when a CSV part has its columns in another order", async () => {
    const bag = await build({ format: "csv" });
    const path = "data/tables/users/part-00001.csv";
    bag.files.set(path, Buffer.from(String(bag.files.get(path)).replace("id,name,email", "id,email,name")));
    await expect(target.run(bag)).rejects.toMatchObject({ code: "import_refused" });
    await target.expectNothingLeft();
  });

  test("when a row has what a check of the database refuses", async () => {
    await target.database.owner.query("alter table usage add check (streamed)");
    await expect(target.run(await build())).rejects.toMatchObject({
      code: "import_refused",
      message: expect.stringContaining("rows of usage: new row for relation"),
    });
    await target.expectNothingLeft();
  });

  test("when a value is none of its type, which is not shown", async () => {
    const bag = await build({ format: "csv" });
    const path = "data/tables/users/part-00001.csv";
    const secret = `private ${"x".repeat(5_000)}`;
    bag.files.set(path, Buffer.from(String(bag.files.get(path)).replace(/"[0-9a-f-]{36}"/, `"${secret}"`)));
    await expect(target.run(bag)).rejects.toMatchObject({
      code: "import_refused",
      message: expect.stringMatching(/rows of users: invalid input syntax for type uuid: "…"\.$/),
    });
    await target.expectNothingLeft();
  });

  test("when the contents of a file are others, longer or shorter", async () => {
    const [id] = [...tenant.contents.keys()].slice(5);
    const bag = await build();
    const path = `data/files/${id}.bin`;
    const bytes = bag.files.get(path) as Buffer;
    for (const other of [
      Buffer.concat([bytes, Buffer.from("x")]),
      bytes.subarray(1),
      Buffer.from(bytes.toReversed()),
    ]) {
      bag.files.set(path, other);
      await expect(target.run(bag)).rejects.toMatchObject({
        code: "import_refused",
        message: expect.stringContaining(path),
      });
      await target.expectNothingLeft();
    }
  });

  test("when the row of a file says other contents than the bag has", async () => {
    const contents = new Map(tenant.contents);
    const [id] = [...contents.keys()];
    contents.set(String(id), Buffer.from("other"));
    await expect(target.run(await build({ contents }))).rejects.toThrow(`the file ${id} has other contents`);
    await target.expectNothingLeft();
  });

  test("when the storage fails", async () => {
    let writes = 0;
    const store = {
      ...target.storage,
      write: (...args: Parameters<BlobStorage["write"]>) => {
        writes += 1;
        if (writes === 3) throw new Error("the disk is gone");
        return target.storage.write(...args);
      },
    };
    await expect(target.run(await build(), { store })).rejects.toThrow("the disk is gone");
    await target.expectNothingLeft();
  });

  test("when the bag is of the platform", async () => {
    const bag = await build();
    const document = { ...bag.document, tenant: { id: platformTenantId, name: "platform" } };
    await expect(target.run({ ...bag, document }, { asNewTenant: true })).rejects.toThrow(
      "every instance has",
    );
    await target.expectNothingLeft();
  });

  test("when it would write as the application", async () => {
    await expect(target.run(await build(), { ownerUrl: target.database.appUrl })).rejects.toThrow(
      "DATABASE_OWNER_URL",
    );
    await target.expectNothingLeft();
  });

  test("when the check of the bag found faults", async () => {
    const faults = Array.from({ length: 7 }, (_, index) => ({ code: "x", message: `fault ${index}` }));
    const bag = await build();
    await expect(target.run(bag, { report: { ...reportOf(bag), ok: false, faults } })).rejects.toMatchObject({
      code: "bag_invalid",
      message: expect.stringMatching(/fault 0; .*fault 4; and 2 faults more$/),
    });
    await target.expectNothingLeft();
  });
});

test("a tenant that exists is refused, and stays as it is", async () => {
  const bag = await build();
  await target.run(bag);
  const before = await rowsOf(target.database, tenant.id);
  await expect(target.run(bag)).rejects.toMatchObject({
    code: "import_refused",
    message: expect.stringContaining("--as-new-tenant"),
  });
  expect(await rowsOf(target.database, tenant.id)).toEqual(before);
  expect(await target.storedFor(tenant.id)).toHaveLength(tenant.contents.size);
});

test("an owner of the schema that row security binds imports as well", async () => {
  const superuser = await connectTo(inject("superuserUrl"));
  const role = `owner_${randomBytes(6).toString("hex")}`;
  try {
    await superuser.query(`create role ${role} login password 'test-owner' nobypassrls`);
    await superuser.query(`grant ectus_app to ${role}`);
    await superuser.query(`create database ${role} owner ${role}`);
    const ownerUrl = urlAs(inject("superuserUrl"), { role, password: "test-owner" }, role);
    await migrate({ url: ownerUrl, log });
    const owner = await connectTo(ownerUrl);
    try {
      await allowAnyScopes(owner);
      await target.run(await build(), { ownerUrl });
      const opened = { ...target.database, owner };
      expect(await rowsOf(opened, tenant.id)).toEqual(await rowsOf(from, tenant.id));
    } finally {
      await owner.end();
    }
  } finally {
    await superuser.query(`drop database if exists ${role} with (force)`);
    await superuser.query(`drop role if exists ${role}`);
    await superuser.end();
  }
});
