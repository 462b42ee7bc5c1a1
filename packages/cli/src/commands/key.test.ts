// Runs `ectus key` on a database of its own.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { apiKeyDigest } from "@ectus/core";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { runRecorded } from "../recorded-context.ts";

const secret = "a secret of at least 32 characters";
let database: TestDatabase;
let dataDir: string;
let owner: pg.Client;
let tenantId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  dataDir = await mkdtemp(join(tmpdir(), "ectus-key-"));
  owner = new pg.Client({ connectionString: database.ownerUrl });
  await owner.connect();
  const { out } = await runRecorded(environment(), "tenant", "create", "Acme", "--json");
  tenantId = JSON.parse(out).id;
});
afterAll(async () => {
  await owner.end();
  await database.drop();
  await rm(dataDir, { recursive: true });
});

const environment = () => ({
  DATABASE_URL: database.appUrl,
  DATA_DIR: dataDir,
  API_KEY_SECRET: `${secret},another secret that is old enough now`,
});
const run = (...args: string[]) => runRecorded(environment(), "key", ...args);

async function runJson(...args: string[]) {
  const { code, out, err } = await run(...args, "--json");
  expect(err).toBe("");
  expect(code).toBe(0);
  return JSON.parse(out);
}

test("a new key is stored as its digest under the newest secret, and works as said", async () => {
  const made = await runJson(
    ...["create", "web", "--tenant", "Acme", "--scope", "inference", "admin", "--expires", "90d"],
    ...["--rpm", "5", "--tpm", "none"],
  );
  expect(made).toMatchObject({
    object: "api_key",
    tenant_id: tenantId,
    name: "web",
    scopes: ["inference", "admin"],
    requests_per_minute: 5,
    tokens_per_minute: null,
    revoked_at: null,
    last_used_at: null,
    key: expect.stringMatching(/^sk-[\w-]{43}$/),
  });
  expect(made.key.startsWith(made.prefix)).toBe(true);
  expect(Date.parse(made.expires_at) - Date.now()).toBeGreaterThan(89 * 86_400_000);
  const { rows } = await owner.query("select digest from api_keys where id = $1", [made.id]);
  expect(rows[0].digest).toEqual(apiKeyDigest(made.key, secret));
  const log = await owner.query("select actor_type, action from audit_log where target_id = $1", [made.id]);
  expect(log.rows).toEqual([{ actor_type: "operator", action: "api_key.created" }]);
});

test("people see the key once and may do inference with it by default", async () => {
  const { out } = await run("create", "shop", "--tenant", tenantId);
  const key = /sk-[\w-]{43}/.exec(out)?.[0] ?? "";
  expect(key).not.toBe("");
  expect(out).toContain("scopes             inference");
  expect(out).toContain("state              valid\n");
  const listed = (await run("list", "--tenant", "Acme")).out;
  expect(listed).toContain("shop");
  expect(listed).not.toContain(key);
});

test("an operator's key belongs to the platform", async () => {
  const made = await runJson("create", "night shift", "--operator");
  expect(made.scopes).toEqual(["operator"]);
  expect(made.tenant_id).toBe("00000000-0000-0000-0000-000000000000");
  const list = await runJson("list", "--operator");
  expect(list.data.map(({ id }: { id: string }) => id)).toEqual([made.id]);
  expect(list.data[0]).not.toHaveProperty("key");
  expect((await run("create", "second", "--operator")).out).toContain("none: the operator's");
});

test("revoke ends a key for good, and twice changes nothing", async () => {
  const { id } = await runJson("create", "leaked", "--tenant", "Acme");
  const { revoked_at } = await runJson("revoke", id, "--tenant", "Acme");
  expect(revoked_at).not.toBeNull();
  expect(await runJson("revoke", id, "--tenant", "Acme")).toMatchObject({ revoked_at });
  expect((await run("revoke", id, "--tenant", "Acme")).out).toContain("state              revoked 2");
  expect((await run("list", "--tenant", "Acme")).out).toContain("revoked 2");
});

test("a key of another owner is not found", async () => {
  const { id } = await runJson("create", "mine", "--tenant", "Acme");
  const { code, err } = await run("revoke", id, "--operator");
  expect(code).toBe(1);
  expect(err).toContain(`No API key with id '${id}'`);
});

test("an expired key is listed as such", async () => {
  const { id } = await runJson("create", "short", "--tenant", "Acme", "--expires", "1m");
  await owner.query("update api_keys set expires_at = now() - interval '1 day' where id = $1", [id]);
  expect((await run("list", "--tenant", "Acme")).out).toMatch(new RegExp(`${id}  short .* expired 2`));
});

test("a tenant without keys is told how to make one", async () => {
  await runRecorded(environment(), "tenant", "create", "Empty");
  expect((await run("list", "--tenant", "Empty")).out).toContain("ectus key create <name>");
});

test.each([
  [["create", "x"], "Accepts --tenant <id or name>, or --operator"],
  [["list"], "Accepts --tenant"],
  [["create", "x", "--tenant", "Acme", "--operator"], "cannot be used with option"],
  [["create", "x", "--operator", "--scope", "admin"], "cannot be used with option"],
  [["create", "x", "--tenant", "Acme", "--scope", "operator"], "Allowed choices are inference, admin"],
  [["create", "x", "--tenant", "Acme", "--expires", "soon"], "Accepts a time like"],
  [["create", "x", "--tenant", "Acme", "--expires", "2020-01-01"], "in the past"],
  [["create", "a\0b", "--tenant", "Acme"], "U+0000"],
  [["create", "x", "--tenant", "a\0b"], "U+0000"],
  [["revoke", "nonsense", "--tenant", "Acme"], "Accepts an id like"],
  [["revoke", "--tenant", "Acme"], "missing required argument 'id'"],
])("%j is used wrongly", async (args, message) => {
  const { code, out, err } = await run(...args);
  expect(code).toBe(2);
  expect(out).toBe("");
  expect(err).toContain(message);
});

test("without API_KEY_SECRET the secret of the data folder is used, and nothing is made up if it has none", async () => {
  const { API_KEY_SECRET: _, ...rest } = environment();
  const args = ["key", "create", "x", "--tenant", "Acme", "--json"];
  const refused = await runRecorded(rest, ...args);
  expect(refused.code).toBe(2);
  expect(refused.err).toContain("API_KEY_SECRET: is not set");
  const secrets = { apiKeySecret: "from the folder", databaseOwnerPassword: "", databaseAppPassword: "" };
  await writeFile(join(dataDir, "secrets.json"), JSON.stringify(secrets));
  const made = JSON.parse((await runRecorded(rest, ...args)).out);
  const { rows } = await owner.query("select digest from api_keys where id = $1", [made.id]);
  expect(rows[0].digest).toEqual(apiKeyDigest(made.key, "from the folder"));
});
