// The whole process is killed between the upstream's answer and the commit: the client has no complete answer, the
// database has all of a request or nothing, and what the dead instance had leased comes back.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { startUpstream, type Upstream } from "../openai-upstream/upstream.ts";
import { createTestDatabase, type TestDatabase } from "../postgres/test-database.ts";

type Child = ChildProcessByStdio<null, Readable, Readable>;

interface Credentials {
  readonly baseUrl: string;
  readonly operatorKey: string;
  readonly tenants: readonly { readonly id: string; readonly key: string }[];
}

const main = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;
let folder: string;
let testDatabase: TestDatabase;
let upstream: Upstream;
let superuser: pg.Pool;
let owner: pg.Pool;
const children = new Set<Child>();

beforeAll(async () => {
  [folder, testDatabase, upstream] = await Promise.all([
    mkdtemp(join(tmpdir(), "ectus-crash-")),
    createTestDatabase(),
    startUpstream(),
  ]);
  superuser = new pg.Pool({ connectionString: inject("superuserUrl"), max: 2 });
  owner = new pg.Pool({ connectionString: testDatabase.ownerUrl, max: 2 });
  // The database is dropped while connections may still be closing.
  for (const pool of [superuser, owner])
    pool.on("error", () => {}).on("connect", (client) => client.on("error", () => {}));
  const providers = {
    providers: { double: { type: "openai", baseUrl: upstream.baseUrl, apiKey: "any" } },
    models: {
      "test-chat": { operations: ["chat"], routes: [{ provider: "double", model: "upstream-chat" }] },
    },
  };
  // JSON is YAML.
  await writeFile(join(folder, "providers.yaml"), JSON.stringify(providers));
});
afterAll(async () => {
  for (const child of children) {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  await Promise.all([superuser.end(), owner.end(), upstream.close()]);
  await testDatabase.drop();
  await rm(folder, { recursive: true, force: true });
});

async function start(): Promise<{ child: Child; credentials: Credentials }> {
  const child = spawn(process.execPath, [main, "up", "--port", "0", "--data-dir", folder, "--offline"], {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: testDatabase.appUrl,
      DATABASE_OWNER_URL: testDatabase.ownerUrl,
      AI_PROVIDERS: join(folder, "providers.yaml"),
      HOST: "127.0.0.1",
      METRICS_PORT: "0",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.add(child);
  child.once("exit", () => children.delete(child));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      output += text;
    });
  }
  await expect
    .poll(() => child.exitCode !== null || output.includes("Ectus-R answers at"), {
      timeout: 40_000,
      interval: 20,
    })
    .toBe(true);
  expect(child.exitCode, output).toBeNull();
  const credentials = JSON.parse(await readFile(join(folder, "credentials.json"), "utf8")) as Credentials;
  return { child, credentials };
}

const ask = ({ baseUrl, tenants }: Credentials, more: object): Promise<Response> =>
  fetch(`${baseUrl.replace(/\/v1$/, "")}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${tenants[0]?.key}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: "test-chat",
      messages: [{ role: "user", content: "Hi" }],
      max_tokens: 50,
      store: true,
      ...more,
    }),
  });

async function countOf(table: string): Promise<number> {
  const { rows } = await owner.query(`select count(*)::int as count from ${table}`);
  return rows[0].count;
}

const backends = async (condition: string): Promise<number> => {
  const { rows } = await superuser.query(
    `select count(*)::int as count from pg_stat_activity where datname = $1 and application_name like 'ectus%' and ${condition}`,
    [testDatabase.databaseName],
  );
  return rows[0].count;
};

test("kill -9 between answer and commit", { timeout: 120_000 }, async () => {
  const first = await start();
  const { credentials } = first;
  const limits = await fetch(`${credentials.baseUrl}/admin/tenants/${credentials.tenants[0]?.id}/limits`, {
    method: "PUT",
    headers: { authorization: `Bearer ${credentials.operatorKey}`, "content-type": "application/json" },
    body: JSON.stringify({ monthly_token_budget: 1_000_000 }),
  });
  expect(limits.status).toBe(200);
  expect((await ask(credentials, {})).status).toBe(200);

  const lock = new pg.Client({ connectionString: testDatabase.ownerUrl });
  await lock.connect();
  await lock.query("begin; lock table usage in exclusive mode");
  const whole = ask(credentials, {}).then((response) => response.text());
  const streamed = await ask(credentials, { stream: true });
  let received = "";
  const reading = (async () => {
    for await (const piece of streamed.body?.pipeThrough(new TextDecoderStream()) ?? []) received += piece;
  })();
  // Not observed as unhandled while the test waits for the database.
  whole.catch(() => {});
  reading.catch(() => {});
  await expect
    .poll(() => backends("wait_event_type = 'Lock' and query like '%settle%'"), {
      timeout: 10_000,
      interval: 20,
    })
    .toBeGreaterThan(0);
  await expect.poll(() => received, { timeout: 5_000 }).toContain("world");

  first.child.kill("SIGKILL");
  await expect(whole).rejects.toThrow();
  await expect(reading).rejects.toThrow();
  expect(received).not.toContain("[DONE]");
  expect(received).not.toContain('"finish_reason":"stop"');

  // What was under way in the database ends by itself, one way or the other.
  await lock.query("rollback");
  await lock.end();
  await expect.poll(() => backends("true"), { timeout: 15_000, interval: 50 }).toBe(0);
  const usage = await countOf("usage");
  expect(usage).toBeGreaterThanOrEqual(1);
  expect(await countOf("completions")).toBe(usage);
  expect(await countOf("messages")).toBe(2 * usage);
  const budget = async () =>
    (await owner.query("select spent::int, leased::int from token_spending")).rows as {
      spent: number;
      leased: number;
    }[];
  const charged = async (): Promise<number> =>
    (await owner.query("select sum(charged_tokens)::int as sum from usage")).rows[0].sum;
  expect(await budget()).toMatchObject([{ spent: await charged() }]);

  // The dead instance's lease holds until it expires; then its tokens come back.
  expect((await budget())[0]?.leased).toBeGreaterThan(0);
  await owner.query("update token_leases set expires_at = now() - interval '1 second'");
  await owner.query("select reclaim_lease()");
  expect(await budget()).toEqual([{ spent: await charged(), leased: 0 }]);

  const second = await start();
  expect((await ask(second.credentials, {})).status).toBe(200);
  expect(await countOf("usage")).toBe(usage + 1);
  second.child.kill("SIGTERM");
  await once(second.child, "exit");
  expect(await budget()).toEqual([{ spent: await charged(), leased: 0 }]);
});
