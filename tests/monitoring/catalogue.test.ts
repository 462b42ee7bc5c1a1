// After the main job has run, and some of it failed, a scrape has every metric of the catalogue with its labels, and
// nothing that is not in it.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type CatalogueEntry, catalogue } from "@ectus/monitoring";
import { peer } from "@ectus/peers";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { until } from "../postgres/until.ts";
import { type Metrics, scrapeMetrics } from "./read-metrics.ts";
import {
  builtInModel,
  chatModel,
  embeddingModel,
  fallbackModel,
  type Instance,
  startInstance,
} from "./start-instance.ts";

const model = await peer("model");
const entries = Object.entries(catalogue) as [string, CatalogueEntry][];
let instance: Instance;
let metrics: Metrics;

async function send(method: string, path: string, body?: object, key = instance.key): Promise<number> {
  const answer = await fetch(instance.url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  await answer.arrayBuffer();
  return answer.status;
}

const chat = (model: string, more: object = {}): Promise<number> =>
  send("POST", "/v1/chat/completions", { model, messages: [{ role: "user", content: "Hi" }], ...more });

/** Ends the instance's connections to its database while one of them waits for a lock. */
async function cutDatabaseConnections(): Promise<void> {
  const owner = new pg.Client({ connectionString: instance.ownerUrl });
  const superuser = new pg.Client({ connectionString: inject("superuserUrl") });
  await Promise.all([owner.connect(), superuser.connect()]);
  await owner.query("begin; lock table tenants in access exclusive mode");
  const waiting = send("GET", "/admin/tenants", undefined, instance.operatorKey);
  const of = "from pg_stat_activity where datname = $1 and application_name = 'ectus'";
  const database = [new URL(instance.ownerUrl).pathname.slice(1)];
  await until(async () => {
    const { rows } = await superuser.query(`select 1 ${of} and wait_event_type = 'Lock'`, database);
    return rows.length > 0;
  });
  await superuser.query(`select pg_terminate_backend(pid) ${of}`, database);
  expect(await waiting).toBe(503);
  await Promise.all([owner.end(), superuser.end()]);
}

/** A client that asks for a large answer and does not read it: a write to it stays under way in the system. */
async function startLazyClient(): Promise<Socket> {
  instance.upstream.next({ content: ["x".repeat(16 * 1024 * 1024)] });
  const body = JSON.stringify({ model: chatModel, messages: [{ role: "user", content: "Hi" }] });
  const { hostname, port } = new URL(instance.url);
  const socket = connect(Number(port), hostname);
  await once(socket, "connect");
  socket.pause();
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nauthorization: Bearer ${instance.key}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  return socket;
}

describe.skipIf(!model)("the catalogue", () => {
  beforeAll(async () => {
    instance = await startInstance({ SLOW_QUERY_MS: "1" }, Object.values(model?.files ?? {})[0]);
    expect(await chat(builtInModel, { max_tokens: 4 })).toBe(200);
    expect(await chat(chatModel)).toBe(200);
    expect(await chat(chatModel, { stream: true, store: true })).toBe(200);
    expect(await send("POST", "/v1/embeddings", { model: embeddingModel, input: "Hi" })).toBe(200);
    // What fails: one provider, all of them, a statement and connections.
    expect(await chat(fallbackModel)).toBe(200);
    instance.upstream.next({ status: 500 });
    expect(await chat(chatModel)).toBe(502);
    await cutDatabaseConnections();
    const lazyClient = await startLazyClient();
    await until(async () => {
      metrics = await scrapeMetrics(instance.metricsUrl);
      return (
        metrics.samples.some(({ name }) => name === "db_connection_errors_total") &&
        metrics.samples.some(({ name }) => name === "db_slow_queries_total") &&
        metrics.samples.some(({ name }) => name === "nodejs_active_requests") &&
        // The first scrape measures itself when it is over.
        metrics.valueOf("metrics_scrape_duration_seconds_count") > 0
      );
    });
    lazyClient.destroy();
  }, 90_000);
  afterAll(() => instance?.stop());

  test("has no metric that a scrape lacks", () => {
    const shown = new Set(metrics.samples.map(({ name }) => name.replace(/_(bucket|sum|count)$/, "")));
    const names = new Set(metrics.samples.map(({ name }) => name));
    const missing = entries
      .filter(([name, { type }]) => (type === "histogram" ? !shown.has(name) : !names.has(name)))
      .map(([name]) => name);
    expect(missing).toEqual([]);
  });

  test("has every metric that a scrape shows, with its type", () => {
    expect(Object.fromEntries([...metrics.types].sort())).toEqual(
      Object.fromEntries(entries.map(([name, { type }]) => [name, type]).sort()),
    );
  });

  test.each(entries)("says the labels of %s and their values", (name, { type, labels }) => {
    const samples = metrics.samples.filter(
      (sample) => sample.name === (type === "histogram" ? `${name}_count` : name),
    );
    expect(samples.length).toBeGreaterThan(0);
    const values = new Map<string, Set<string>>();
    for (const sample of samples) {
      expect(Object.keys(sample.labels).sort()).toEqual(Object.keys(labels).sort());
      for (const [label, value] of Object.entries(sample.labels))
        values.set(label, (values.get(label) ?? new Set()).add(value));
    }
    for (const [label, seen] of values) {
      const rule = labels[label] as NonNullable<(typeof labels)[string]>;
      if ("values" in rule) expect(rule.values).toEqual(expect.arrayContaining([...seen]));
      else expect(seen.size).toBeLessThanOrEqual(rule.atMost);
    }
  });
});
