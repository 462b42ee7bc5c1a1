// Imports bags of other versions and of a part of the data.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { type BagOfTenant, type BagOptions, bagOfTenant } from "./bag-of-tenant.ts";
import { type ImportTarget, openImportTarget, rowsOf, withTable } from "./import-target.ts";
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

describe("a bag of another version", () => {
  test("that is newer is refused", async () => {
    const bag = await build();
    const document = { ...bag.document, schemaVersion: 1_000 };
    await expect(target.run({ ...bag, document })).rejects.toThrow("of schema version 1000");
    await target.expectNothingLeft();
  });

  test("that is older and lacks columns that may be empty or have a default is imported, with its digests", async () => {
    // As it was before these columns came.
    const older = await openTestDatabase();
    try {
      const { id, contents } = await nastyTenant(older.owner);
      await older.owner.query("alter table completions drop column nul_replaced, drop column end_user");
      await older.owner.query("delete from schema_migrations where version = 3");
      for (const format of ["ndjson", "csv"] as const) {
        const bag = await bagOfTenant(older.owner, id, { contents, format });
        const { tenantId } = await target.run(bag, { asNewTenant: true });
        const { rows } = await target.database.owner.query(
          "select distinct nul_replaced, end_user from completions where tenant_id = $1",
          [tenantId],
        );
        expect(rows).toEqual([{ nul_replaced: false, end_user: null }]);
      }
    } finally {
      await older.close();
    }
  });

  test("that lacks columns which must have a value is refused with their names", async () => {
    const bag = withTable(await build(), "completions", ({ columns }) => ({
      columns: columns.filter(({ name }) => !["model", "response", "metadata"].includes(name)),
    }));
    await expect(target.run(bag)).rejects.toThrow(
      "completions lacks columns that must have a value: model, response.",
    );
    await target.expectNothingLeft();
  });

  test("that cannot have a column which no export has and that must have a value is refused with its name", async () => {
    await target.database.owner.query("alter table users add column pin text not null");
    await expect(target.run(await build())).rejects.toThrow(
      "users lacks columns that must have a value: pin.",
    );
    await target.expectNothingLeft();
  });

  test.each(["gone", 'x" text); drop table tenants; --', "tenant_id", "ctid"])(
    "that has a column %s which is not exported here is refused",
    async (name) => {
      const bag = withTable(await build(), "users", ({ columns }) => ({
        columns: [...columns, { name, type: "text", class: "content" }],
      }));
      await expect(target.run(bag)).rejects.toMatchObject({
        code: "import_refused",
        message: expect.stringContaining(JSON.stringify(name)),
      });
      await target.expectNothingLeft();
    },
  );

  test.each(["schema_migrations", "token_leases", "pg_class", "gone"])(
    "that has the table %s is refused",
    async (name) => {
      const bag = withTable(await build(), "users", () => ({ name }));
      await expect(target.run(bag)).rejects.toThrow(JSON.stringify(name));
      await target.expectNothingLeft();
    },
  );
});

describe("a bag of a part of the data", () => {
  test("without the tenant is refused, and imported under a name that is given", async () => {
    const bag = await build({ tables: ["completions", "messages"], auditLog: false, contents: null });
    await expect(target.run(bag)).rejects.toThrow("--tenant-name");
    await target.expectNothingLeft();
    const result = await target.run(bag, { tenantName: "Part of 'Acme'" });
    expect(result.tenantName).toBe("Part of 'Acme'");
    const { rows } = await target.database.owner.query("select name, state from tenants where id = $1", [
      tenant.id,
    ]);
    expect(rows).toEqual([{ name: "Part of 'Acme'", state: "active" }]);
    expect((await rowsOf(target.database, tenant.id)).messages).toEqual(
      (await rowsOf(from, tenant.id)).messages,
    );
  });

  test("with the tenant takes another name that is given", async () => {
    await target.run(await build(), { tenantName: "Acme again" });
    const { rows } = await target.database.owner.query("select name from tenants where id = $1", [tenant.id]);
    expect(rows).toEqual([{ name: "Acme again" }]);
  });

  test("whose rows need those of a table that it lacks is refused", async () => {
    const bag = await build({ tables: ["tenants", "messages"], contents: null });
    await expect(target.run(bag)).rejects.toThrow("rows of messages, but not those of completions");
    await target.expectNothingLeft();
  });

  test("that lists files without their contents is refused", async () => {
    await expect(target.run(await build({ contents: null }))).rejects.toThrow("files without their contents");
    const some = new Map([...tenant.contents].slice(1));
    await expect(target.run(await build({ contents: some }))).rejects.toThrow("Export both.");
    await target.expectNothingLeft();
  });
});
