import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bySystem } from "../../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import { type Database, platformTenantId } from "../database.ts";
import { appendAudit } from "./append-audit.ts";
import { createTenant, getTenant, listTenants, updateTenant } from "./tenants.ts";

const unknown = "018f0000-0000-7000-8000-000000000000";
const byOperator = {
  actor: { type: "operator", id: "018f0000-0000-7000-8000-00000000000a" },
  requestId: "req-1",
} as const;
let opened: OpenTestDatabase;
let database: Database;
let owner: pg.Client;

beforeAll(async () => {
  opened = await openTestDatabase();
  ({ database, owner } = opened);
});
afterAll(() => opened.close());

async function audited(target: string) {
  const { rows } = await owner.query(
    "select tenant_id, actor_type, actor_id, action, request_id, details from audit_log where target_id = $1 order by id",
    [target],
  );
  return rows;
}

test("a tenant is made with its limits, is active, and the audit log names who made it", async () => {
  const made = await createTenant(
    database,
    { name: "Müller & Söhne", monthly_token_budget: 9_007_199_254, requests_per_minute: 60 },
    byOperator,
  );
  expect(made).toMatchObject({
    name: "Müller & Söhne",
    state: "active",
    requests_per_minute: 60,
    tokens_per_minute: null,
    monthly_token_budget: 9_007_199_254,
  });
  expect(await getTenant(database, made.id)).toEqual(made);
  expect(await audited(made.id)).toEqual([
    {
      tenant_id: platformTenantId,
      actor_type: "operator",
      actor_id: byOperator.actor.id,
      action: "tenant.created",
      request_id: "req-1",
      details: {},
    },
  ]);
});

test("tenants are listed in the order in which they were made, page by page, without the platform", async () => {
  const made: string[] = [];
  for (let i = 0; i < 5; i++) made.push((await createTenant(database, { name: `T${i}` }, bySystem)).id);
  const all = (await listTenants(database, { limit: 100 })).map(({ id }) => id);
  expect(all.slice(-5)).toEqual(made);
  expect(all).not.toContain(platformTenantId);
  const pages: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = await listTenants(database, { limit: 2, ...(after === undefined ? {} : { after }) });
    if (page.length === 0) break;
    pages.push(...page.map(({ id }) => id));
    after = page.at(-1)?.id;
  }
  expect(pages).toEqual(all);
});

test("a change touches what it names, and the audit log tells which fields those were", async () => {
  const made = await createTenant(database, { name: "Old", tokens_per_minute: 5 }, bySystem);
  const changed = await updateTenant(
    database,
    made.id,
    { state: "suspended", tokens_per_minute: null },
    byOperator,
  );
  expect(changed).toMatchObject({ name: "Old", state: "suspended", tokens_per_minute: null });
  expect(changed.updated_at.getTime()).toBeGreaterThanOrEqual(made.updated_at.getTime());
  expect((await audited(made.id)).at(-1)).toMatchObject({
    action: "tenant.updated",
    details: { fields: ["state", "tokens_per_minute"] },
  });
});

test("a tenant that is not there is not_found, and the platform is no tenant to look at or change", async () => {
  for (const id of [unknown, platformTenantId]) {
    await expect(getTenant(database, id)).rejects.toMatchObject({ code: "not_found" });
    await expect(updateTenant(database, id, { name: "X" }, bySystem)).rejects.toMatchObject({
      code: "not_found",
    });
    expect((await audited(id)).filter(({ action }) => action === "tenant.updated")).toEqual([]);
  }
});

test("a change that is refused leaves no audit entry", async () => {
  const { rows: before } = await owner.query("select count(*) from audit_log");
  await expect(createTenant(database, { name: "" }, bySystem)).rejects.toMatchObject({ code: "23514" });
  await expect(
    createTenant(database, { name: "X", monthly_token_budget: -1 }, bySystem),
  ).rejects.toMatchObject({ code: "23514" });
  expect((await owner.query("select count(*) from audit_log")).rows).toEqual(before);
});

test("an audit entry is gone with the transaction that it was written in", async () => {
  const { id } = await createTenant(database, { name: "Rolled back" }, bySystem);
  const target = { type: "test", id: "rolled-back" };
  const entry = { ...bySystem, tenantId: id, action: "test", target };
  await expect(
    database.inTenant(id, async (tx) => {
      await appendAudit(tx, entry);
      throw new Error("no");
    }),
  ).rejects.toThrow("no");
  expect(await audited("rolled-back")).toEqual([]);
  await database.inTenant(id, (tx) => appendAudit(tx, { ...entry, details: { why: "it happened" } }));
  expect(await audited("rolled-back")).toMatchObject([{ tenant_id: id, details: { why: "it happened" } }]);
});
