// PostgreSQL stops and comes back under load: requests get a clear 503 or wait, no success is ever shown without its
// row, and no row is lost.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogging } from "@ectus/core";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@ectus/database";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { app, owner, prepareTemplate, templateDatabase, urlAs } from "../postgres/template.ts";
import { chatModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

const log = createLogging({ levels: { default: "error", modules: {} }, format: "json" }).module(
  "test-postgres",
);
const database = "outage";
const workers = 12;
let folder: string;
let postgres: EmbeddedPostgres;
let api: TestApi;
let tenant: TestTenant;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-outage-"));
  postgres = await startEmbeddedPostgres({ dataDir: folder, log });
  await prepareTemplate(postgres.superuserUrl, log);
  const client = new pg.Client({ connectionString: postgres.superuserUrl });
  await client.connect();
  await client.query(`create database ${database} template ${templateDatabase} owner ${owner.role}`);
  await client.end();
  api = await startApi({
    databaseUrl: urlAs(postgres.superuserUrl, app, database),
    ownerUrl: urlAs(postgres.superuserUrl, owner, database),
  });
  tenant = await api.makeTenant({ monthly_token_budget: 1_000_000_000 });
});
afterAll(async () => {
  await api?.close();
  await postgres?.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Success {
  readonly requestId: string;
  readonly completionId: string;
}

test("a restart under load loses nothing and shows no success that is not recorded", async () => {
  const successes: Success[] = [];
  const failures: string[] = [];
  let running = true;

  async function ask(isStream: boolean): Promise<void> {
    const { status, headers, text, json } = await api.request("POST", "/v1/chat/completions", {
      key: tenant.key,
      body: {
        model: chatModel,
        messages: [{ role: "user", content: "Hi" }],
        max_tokens: 50,
        store: true,
        ...(isStream ? { stream: true } : {}),
      },
    });
    const requestId = headers.get("x-request-id") ?? "";
    if (status === 200 && (json !== undefined || text.endsWith("data: [DONE]\n\n"))) {
      successes.push({ requestId, completionId: /"id":"(chatcmpl-\w+)"/.exec(text)?.[1] ?? "" });
      return;
    }
    expect(text).toContain('"code":"database_unavailable"');
    failures.push(text);
    if (status !== 200) {
      expect(status).toBe(503);
      expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    }
  }
  const load = Array.from({ length: workers }, async (_, index) => {
    for (let count = index; running; count += 1) await ask(count % 2 === 0);
  });
  const every = Promise.all(load);
  every.catch(() => {
    running = false;
  });
  const until = async (condition: () => boolean): Promise<void> => {
    await expect.poll(() => condition() || !running, { timeout: 20_000, interval: 10 }).toBe(true);
  };

  await until(() => successes.length >= 100);
  const { port } = postgres;
  await postgres.stop();
  await expect
    .poll(async () => (await api.request("GET", "/health/ready")).status, { timeout: 10_000, interval: 20 })
    .toBe(503);
  // Those in progress may wait for their commit until the database is back; new ones are refused.
  const late = Array.from({ length: 20 }, (_, index) => ask(index % 2 === 0));
  await until(() => failures.length >= 20);
  const ready = await api.request("GET", "/health/ready");
  expect(ready.status).toBe(503);
  expect(ready.json.checks).toContainEqual({
    name: "database",
    ok: false,
    reason: expect.stringMatching(/database cannot be reached|No answer/),
  });
  expect((await api.request("GET", "/health/live")).status).toBe(200);
  postgres = await startEmbeddedPostgres({ dataDir: folder, log, port });
  const before = successes.length;
  await until(() => successes.length >= before + 100);
  running = false;
  await Promise.all([every, ...late]);
  expect((await api.request("GET", "/health/ready")).status).toBe(200);

  const usage = await api.sql<{ request_id: string; outcome: string; charged_tokens: string }>(
    "select request_id, outcome, charged_tokens from usage where tenant_id = $1",
    [tenant.id],
  );
  const rowsOf = Map.groupBy(usage, ({ request_id }) => request_id);
  for (const { requestId } of successes)
    expect(rowsOf.get(requestId)).toMatchObject([{ outcome: "completed" }]);
  // No request is recorded twice, though settlements were sent again.
  expect(rowsOf.size).toBe(usage.length);
  const stored = await api.sql<{ id: string; messages: string }>(
    `select replace(id::text, '-', '') as id, count(*) as messages from completions c
     join messages m on m.tenant_id = c.tenant_id and m.completion_id = c.id where c.tenant_id = $1 group by 1`,
    [tenant.id],
  );
  expect(stored.every(({ messages }) => messages === "2")).toBe(true);
  const storedIds = new Set(stored.map(({ id }) => `chatcmpl-${id}`));
  for (const { completionId } of successes) expect(storedIds).toContain(completionId);
  const [budget] = await api.sql<{ spent: string }>("select spent from token_spending where tenant_id = $1", [
    tenant.id,
  ]);
  expect(Number(budget?.spent)).toBe(usage.reduce((sum, row) => sum + Number(row.charged_tokens), 0));
});
