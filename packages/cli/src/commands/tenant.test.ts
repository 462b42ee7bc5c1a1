// Runs `ectus tenant` on a database of its own.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { runRecorded } from "../recorded-context.ts";

let database: TestDatabase;
let dataDir: string;
let owner: pg.Client;

beforeAll(async () => {
  database = await createTestDatabase();
  dataDir = await mkdtemp(join(tmpdir(), "ectus-tenant-"));
  owner = new pg.Client({ connectionString: database.ownerUrl });
  await owner.connect();
});
afterAll(async () => {
  await owner.end();
  await database.drop();
  await rm(dataDir, { recursive: true });
});
beforeEach(async () => {
  await owner.query("delete from tenants where id <> '00000000-0000-0000-0000-000000000000'");
});

const run = (...args: string[]) =>
  runRecorded({ DATABASE_URL: database.appUrl, DATA_DIR: dataDir }, "tenant", ...args);

async function runJson(...args: string[]): Promise<Record<string, unknown> & { id: string }> {
  const { code, out, err } = await run(...args, "--json");
  expect(err).toBe("");
  expect(code).toBe(0);
  return JSON.parse(out);
}

test("create makes a tenant with its limits and says so in the audit log", async () => {
  const made = await runJson("create", "Acme Corp", "--rpm", "600", "--budget", "0");
  expect(made).toEqual({
    id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    object: "tenant",
    name: "Acme Corp",
    state: "active",
    created_at: expect.any(String),
    limits: { requests_per_minute: 600, tokens_per_minute: null, monthly_token_budget: 0 },
  });
  const { rows } = await owner.query("select actor_type, action from audit_log where target_id = $1", [
    made.id,
  ]);
  expect(rows).toEqual([{ actor_type: "operator", action: "tenant.created" }]);
});

test("people get aligned facts", async () => {
  const { code, out } = await run("create", "Acme Corp");
  expect(code).toBe(0);
  expect(out).toMatch(/^id {17}\S+\nname {15}Acme Corp\nstate {14}active\n/);
});

describe("list", () => {
  test("says what to do when there are none", async () => {
    expect((await run("list")).out).toContain("ectus tenant create <name>");
    expect(await runJson("list")).toEqual({ object: "list", data: [], has_more: false });
  });

  test("goes page by page in the order in which they were made", async () => {
    for (const name of ["one", "two", "three"]) await run("create", name);
    const first = (await runJson("list", "--limit", "2")) as unknown as {
      data: { name: string }[];
      has_more: boolean;
    };
    expect(first.data.map(({ name }) => name)).toEqual(["one", "two"]);
    expect(first.has_more).toBe(true);
    expect((await run("list", "--limit", "2")).out).toContain("There are more: --after ");
    const { out } = await run("list", "--after", "two");
    expect(out).toContain("three");
    expect(out).not.toContain("two");
    expect(out).not.toContain("There are more");
  });

  test("shows a name that holds an escape sequence without running it", async () => {
    await run("create", "\u001B[31mred");
    const { out } = await run("list");
    expect(out).toContain("\\u{1b}[31mred");
    expect(out).not.toContain("\u001B");
  });
});

test("a tenant is found by its id and by its name", async () => {
  const { id } = await runJson("create", "Acme");
  expect((await runJson("show", "Acme")).id).toBe(id);
  expect((await runJson("show", id)).name).toBe("Acme");
});

test("a name that several have is refused with their ids", async () => {
  const ids = [(await runJson("create", "Twin")).id, (await runJson("create", "Twin")).id];
  const { code, err } = await run("suspend", "Twin");
  expect(code).toBe(1);
  for (const id of ids) expect(err).toContain(id);
});

test("a tenant that is not there is a failure, also as JSON", async () => {
  const { code, out, err } = await run("show", "nobody", "--json");
  expect(code).toBe(1);
  expect(JSON.parse(out)).toEqual({ error: { code: "not_found", message: "No tenant with id 'nobody'." } });
  expect(err).toContain("No tenant");
  expect((await run("show", "00000000-0000-0000-0000-000000000000")).code).toBe(1);
});

test("update renames, suspend and activate change the state", async () => {
  const { id } = await runJson("create", "Old");
  expect((await runJson("update", "Old", "--name", "New")).name).toBe("New");
  expect((await runJson("suspend", "New")).state).toBe("suspended");
  expect((await runJson("activate", id)).state).toBe("active");
});

test("limits shows, and changes only what is named", async () => {
  const { id } = await runJson("create", "Acme", "--rpm", "5", "--tpm", "7");
  expect(await runJson("limits", "Acme", "--tpm", "none", "--budget", "1000")).toEqual({
    object: "tenant.limits",
    tenant_id: id,
    requests_per_minute: 5,
    tokens_per_minute: null,
    monthly_token_budget: 1000,
  });
  expect((await run("limits", "Acme")).out).toBe(
    "requests a minute  5\ntokens a minute    none\ntokens a month     1000\n",
  );
});

test.each([
  [["create"], "missing required argument 'name'"],
  [["create", ""], "Accepts 1 to 200 characters"],
  [["create", "a\0b"], "U+0000"],
  [["create", "x".repeat(201)], "Accepts 1 to 200 characters"],
  [["create", "x", "--rpm", "0"], "Accepts a whole number from 1 to 2147483647, or none"],
  [["create", "x", "--budget", "many"], "Accepts a whole number from 0"],
  [["create", "x", "y"], "too many arguments"],
  [["list", "--limit", "0"], "Accepts a whole number from 1 to 10000"],
  [["update", "x"], "required option '--name <name>' not specified"],
  [["limits", "x", "--rmp", "1"], "Did you mean --rpm?"],
  [["lst"], "Did you mean list?"],
])("%j is used wrongly", async (args, message) => {
  const { code, out, err } = await run(...args);
  expect(code).toBe(2);
  expect(out).toBe("");
  expect(err).toContain(message);
});

test("a database without this version's schema is a failure that says what to do", async () => {
  await owner.query("alter table schema_migrations rename to elsewhere");
  try {
    const { code, err } = await run("list");
    expect(code).toBe(1);
    expect(err).toContain("run 'ectus migrate'");
  } finally {
    await owner.query("alter table elsewhere rename to schema_migrations");
  }
});

test("a database that does not answer is named without its password", async () => {
  const { code, err } = await runRecorded(
    { DATABASE_URL: "postgres://app:hunter2@127.0.0.1:1/ectus", DATA_DIR: dataDir },
    "tenant",
    "list",
  );
  expect(code).toBe(1);
  expect(err).toContain("127.0.0.1:1/ectus");
  expect(err).not.toContain("hunter2");
});
