// The oldest PostgreSQL that is supported does all that the newest does.
import { randomUUIDv7 } from "node:crypto";
import {
  createLoginRoles,
  type Database,
  findApiKey,
  leaseRate,
  leaseTokens,
  migrate,
  openDatabase,
  ownerRole,
  reclaimLeases,
  renewLeases,
  returnRate,
  returnTokens,
  settle,
  startJobs,
} from "@ectus/database";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findBookFaults, newUsage, readBudgets } from "../postgres/account-books.ts";
import { connectTo } from "../postgres/connect.ts";
import { newTenant } from "../postgres/new-tenant.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { app, owner, urlAs } from "../postgres/template.ts";
import { until } from "../postgres/until.ts";
import { type Postgres15, startPostgres15 } from "./start-postgres-15.ts";

const postgresql15 = await peer("postgresql-15");
const { log, lines } = recordingLog("jobs");

describe.skipIf(postgresql15 === undefined)("PostgreSQL 15", () => {
  let postgres: Postgres15;
  let database: Database;
  let ownerUrl: string;

  beforeAll(async () => {
    if (postgresql15 === undefined) return;
    postgres = await startPostgres15(postgresql15.files);
  });
  afterAll(async () => {
    await database?.close();
    await postgres?.stop();
  });

  test("an owner that may not make roles is told what a superuser has to run, and with that it can migrate", async () => {
    const superuser = await connectTo(postgres.superuserUrl);
    const plain = { role: "Plain Owner", password: "plain" };
    await superuser.query(`create role "${plain.role}" login password '${plain.password}'`);
    await superuser.query(`create database plain owner "${plain.role}"`);
    const url = urlAs(postgres.superuserUrl, plain, "plain");
    const failure = await migrate({ url, log }).then(
      () => "",
      (error: Error) => error.message,
    );
    const wanted = 'create role ectus_app nologin nobypassrls; grant ectus_app to "Plain Owner";';
    expect(failure).toContain(`permission denied to create role). As a superuser, run: ${wanted}`);
    await superuser.query(wanted);
    await superuser.end();
    await migrate({ url, log });
    const asApp = openDatabase({ url, poolSize: 1, log });
    const { id, caller } = await newTenant(asApp);
    expect(caller.tenantId).toBe(id);
    // Row security binds this owner too: its functions see all tenants by its policies.
    const lease = {
      tenantId: id,
      month: "2026-01-01",
      instanceId: randomUUIDv7(),
      held: 0,
      need: 5,
      block: 5,
    };
    await leaseTokens(asApp, { ...lease, ttlSeconds: -1 });
    expect(await reclaimLeases(asApp)).toBe(5);
    await asApp.close();
  });

  test("an owner with the right to make roles makes the application's role by itself", async () => {
    const superuser = await connectTo(postgres.superuserUrl);
    await superuser.query("drop database plain");
    await superuser.query("drop role ectus_app");
    await superuser.query("create role maker login createrole password 'maker'");
    await superuser.query("create database made owner maker");
    const url = urlAs(postgres.superuserUrl, { role: "maker", password: "maker" }, "made");
    await Promise.all([migrate({ url, log }), migrate({ url, log })]);
    const asApp = openDatabase({ url, poolSize: 1, log });
    expect((await newTenant(asApp)).caller.tenantState).toBe("active");
    await asApp.close();
    await superuser.query("drop database made");
    await superuser.end();
  });

  test("the schema is migrated", async () => {
    const superuser = await connectTo(postgres.superuserUrl);
    await createLoginRoles(superuser, { owner: owner.password, app: app.password });
    await superuser.query(`create database ectus owner ${ownerRole}`);
    await superuser.end();
    ownerUrl = urlAs(postgres.superuserUrl, owner, "ectus");
    expect(await migrate({ url: ownerUrl, log })).not.toEqual([]);
    expect(await migrate({ url: ownerUrl, log })).toEqual([]);
    database = openDatabase({ url: urlAs(postgres.superuserUrl, app, "ectus"), poolSize: 4, log });
    const [row] = await database.run<{ version: number }>({
      text: "select current_setting('server_version_num')::int / 10000 as version where $1 = 1",
      values: [1],
      operation: "test",
      table: "none",
    });
    expect(row?.version).toBe(15);
  });

  test("requests are settled, and the books agree", async () => {
    const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
    const instanceId = randomUUIDv7();
    const month = `${new Date().toISOString().slice(0, 7)}-01`;
    const lease = { tenantId: tenant.id, month, instanceId };
    const request = { ...lease, held: 0, need: 10, block: 100, ttlSeconds: 60 };
    expect(await leaseTokens(database, request)).toMatchObject({ granted: 100 });
    const batch = [
      { usage: newUsage(tenant, { charged_tokens: 40 }), leasedTokens: 40, touchKey: true },
      { usage: newUsage(await newTenant(database)), touchKey: false },
    ];
    for (let again = 0; again < 2; again++) await settle(database, instanceId, batch);
    expect(await renewLeases(database, { tenantIds: [tenant.id], instanceId, ttlSeconds: 60 })).toEqual([
      { tenantId: tenant.id, month },
    ]);
    expect(await reclaimLeases(database)).toBe(0);
    const from = await connectTo(ownerUrl);
    expect(await readBudgets(from, tenant.id)).toEqual([{ month, spent: 40, leased: 60 }]);
    await returnTokens(database, { ...lease, keep: 0 });
    expect(await findBookFaults(from)).toEqual([]);
    await from.end();
  });

  test("rates are leased and given back", async () => {
    const { caller } = await newTenant(database);
    const minute = new Date(Math.floor(Date.now() / 60_000) * 60_000);
    const rate = {
      tenantId: caller.tenantId,
      keyId: caller.keyId,
      minute,
      needRequests: 1,
      needTokens: 10,
      blockRequests: 5,
      blockTokens: 50,
      limitRequests: 5,
      limitTokens: 60,
    };
    expect(await leaseRate(database, rate)).toEqual({ requests: 5, tokens: 50 });
    await returnRate(database, { tenantId: caller.tenantId, keyId: caller.keyId, minute, tokens: 40 });
    expect(await leaseRate(database, { ...rate, needRequests: 0, blockRequests: 0 })).toEqual({
      requests: 0,
      tokens: 50,
    });
  });

  test("tenants are kept apart", async () => {
    const [one, other] = [await newTenant(database), await newTenant(database)];
    const users = (tenantId: string) =>
      database.inTenant(tenantId, (tx) => tx.selectFrom("users").selectAll().execute());
    await database.inTenant(one.id, (tx) =>
      tx
        .insertInto("users")
        .values({ tenant_id: one.id, id: randomUUIDv7(), name: "A", email: "a@example.org" })
        .execute(),
    );
    expect(await users(one.id)).toHaveLength(1);
    expect(await users(other.id)).toEqual([]);
    await expect(
      database.inTenant(other.id, (tx) =>
        tx
          .insertInto("users")
          .values({ tenant_id: one.id, id: randomUUIDv7(), name: "B", email: "b@example.org" })
          .execute(),
      ),
    ).rejects.toThrow("row-level security");
    expect(await findApiKey(database, [])).toBeUndefined();
  });

  test("jobs run", async () => {
    const definition = { name: "on-15", cron: "0 4 29 2 *", run: async () => ({ well: true }) };
    const jobs = await startJobs({ database, definitions: [definition], log, pollSeconds: 0.5 });
    await jobs.trigger("on-15");
    await until(() => lines.some(({ msg, job }) => msg === "job done" && job === "on-15"));
    await jobs.stop();
  });
});
