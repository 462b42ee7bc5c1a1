// Makes the first keys on a database of its own, also when an earlier start was cut off on the way.
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { apiKeyDigest, createLogging } from "@ectus/core";
import {
  createTenant,
  type Database,
  findApiKey,
  listApiKeys,
  listTenants,
  openDatabase,
  platformTenantId,
  revokeApiKey,
} from "@ectus/database";
import pg from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { ensureCredentials } from "./credentials.ts";
import type { Credentials } from "./credentials-file.ts";

const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("test");
const secret = "a secret of at least 32 characters";
const system = { actor: { type: "system" } } as const;
let postgres: TestDatabase;
let database: Database;
let dataDir: string;

beforeEach(async () => {
  postgres = await createTestDatabase();
  database = openDatabase({ url: postgres.appUrl, poolSize: 4, log });
  dataDir = await mkdtemp(join(tmpdir(), "ectus-credentials-"));
});
afterEach(async () => {
  await database.close();
  await postgres.drop();
  await rm(dataDir, { recursive: true });
});

const ensure = (
  more: {
    baseUrl?: string;
    metricsUrl?: string | undefined;
    dataDir?: string;
    apiKeySecrets?: [string, ...string[]];
  } = {},
) =>
  ensureCredentials({
    database,
    dataDir,
    apiKeySecrets: [secret],
    baseUrl: "http://127.0.0.1:1",
    metricsUrl: "http://127.0.0.1:9/metrics",
    ...more,
  });

async function scopesOf(key: string, under = secret): Promise<readonly string[] | undefined> {
  return (await findApiKey(database, [apiKeyDigest(key, under)]))?.scopes;
}

async function expectWhole(credentials: Credentials | undefined): Promise<void> {
  expect(await scopesOf(credentials?.operatorKey ?? "")).toEqual(["operator"]);
  expect(await scopesOf(credentials?.tenants[0]?.adminKey ?? "")).toEqual(["inference", "admin"]);
  expect(await scopesOf(credentials?.tenants[0]?.key ?? "")).toEqual(["inference"]);
  expect(await listTenants(database, { limit: 9 })).toHaveLength(1);
  expect(await listApiKeys(database, platformTenantId)).toHaveLength(1);
  expect(await listApiKeys(database, credentials?.tenants[0]?.id ?? "")).toHaveLength(2);
  expect(await readdir(dataDir)).toEqual(["credentials.json"]);
}

test("the first start makes a tenant and keys that are in the database", async () => {
  const made = await ensure();
  await expectWhole(made);
  expect(JSON.parse(await readFile(join(dataDir, "credentials.json"), "utf8"))).toEqual(made);
});

test("later starts change only the URLs, also after the secret was rotated", async () => {
  const made = await ensure();
  expect(await ensure()).toEqual(made);
  const rotated = ["a new secret of 32 characters and more", secret] as const;
  expect(await ensure({ baseUrl: "http://127.0.0.1:2", apiKeySecrets: [...rotated] })).toEqual({
    ...made,
    baseUrl: "http://127.0.0.1:2",
  });
  const elsewhere = await ensure({ metricsUrl: "http://127.0.0.1:8/metrics" });
  expect(elsewhere).toEqual({ ...made, metricsUrl: "http://127.0.0.1:8/metrics" });
  expect(JSON.parse(await readFile(join(dataDir, "credentials.json"), "utf8"))).toEqual(elsewhere);
  await ensure({ metricsUrl: undefined });
  expect(await readFile(join(dataDir, "credentials.json"), "utf8")).not.toContain("metricsUrl");
  await expectWhole(made);
});

test("several first starts on one database make one tenant", async () => {
  const other = await mkdtemp(join(tmpdir(), "ectus-credentials-"));
  try {
    const [one, two] = await Promise.all([ensure(), ensure({ dataDir: other })]);
    expect([one, two].filter((made) => made !== undefined)).toHaveLength(1);
    expect(await listTenants(database, { limit: 9 })).toHaveLength(1);
  } finally {
    await rm(other, { recursive: true });
  }
});

test("a start that was cut off after the tenant was made is completed", async () => {
  await createTenant(database, { name: "Demo" }, system);
  await expectWhole(await ensure());
});

test("a start that was cut off between two keys is completed with the keys that were written", async () => {
  const made = await ensure();
  const [admin] = await listApiKeys(database, made?.tenants[0]?.id ?? "");
  const owner = new pg.Client({ connectionString: postgres.ownerUrl });
  await owner.connect();
  await owner.query("delete from api_keys where id <> $1", [admin?.id]).finally(() => owner.end());
  await rename(join(dataDir, "credentials.json"), join(dataDir, "credentials.unfinished.json"));
  const completed = await ensure();
  expect(completed).toEqual(made);
  await expectWhole(completed);
});

test("a database with other tenants gets no keys", async () => {
  await createTenant(database, { name: "Acme" }, system);
  expect(await ensure()).toBeUndefined();
  expect(await readdir(dataDir)).toEqual([]);
});

test("keys of another database, or that were revoked, are not given out as valid", async () => {
  const made = await ensure();
  const tenantId = made?.tenants[0]?.id ?? "";
  for (const { id } of await listApiKeys(database, tenantId))
    await revokeApiKey(database, tenantId, id, system);
  expect(await ensure()).toBeUndefined();
});

test.each(["", "{}", "null", '{"operatorKey":"x","tenants":[]}'])(
  "a file with %j is told and kept",
  async (text) => {
    await writeFile(join(dataDir, "credentials.json"), text);
    await expect(ensure()).rejects.toThrow(/credentials.json: cannot be read.*move it away/);
    expect(await readFile(join(dataDir, "credentials.json"), "utf8")).toBe(text);
  },
);

test("a file that is not one is told", async () => {
  await mkdir(join(dataDir, "credentials.json"));
  await expect(ensure()).rejects.toThrow("cannot be read");
});
