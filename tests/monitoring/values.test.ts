// What the metrics of a running instance say while clients use it: counters, gauges and buckets.
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import { type Metrics, scrapeMetrics } from "./read-metrics.ts";
import { chatModel, type Instance, startInstance } from "./start-instance.ts";

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance();
});
afterAll(() => instance?.stop());

const scrape = (): Promise<Metrics> => scrapeMetrics(instance.metricsUrl);
const path = "/v1/chat/completions";
const chat = (more: object = {}, signal?: AbortSignal): Promise<Response> =>
  fetch(instance.url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${instance.key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: chatModel, messages: [{ role: "user", content: "Hi" }], ...more }),
    ...(signal === undefined ? {} : { signal }),
  });

/** Samples that only go up, by name and labels. */
function counts({ samples, types }: Metrics): Map<string, number> {
  const isCount = (name: string): boolean =>
    types.get(name) === "counter" ||
    (/_(bucket|count)$/.test(name) && types.get(name.replace(/_(bucket|count)$/, "")) === "histogram");
  return new Map(
    samples
      .filter(({ name }) => isCount(name))
      .map(({ name, labels, value }) => [`${name} ${JSON.stringify(labels)}`, value]),
  );
}

test("counters count what happened, and never go down", async () => {
  const before = await scrape();
  for (let count = 0; count < 3; count += 1) await (await chat()).json();
  await fetch(`${instance.url}/nowhere`);
  const labels = { method: "POST", path, status: "200" };
  await until(async () => (await scrape()).valueOf("http_requests_total", labels) >= 3);
  const after = await scrape();
  expect(after.valueOf("http_requests_total", labels)).toBe(
    before.valueOf("http_requests_total", labels) + 3,
  );
  const lost = { method: "GET", path: "unmatched", status: "404" };
  expect(after.valueOf("http_requests_total", lost)).toBe(before.valueOf("http_requests_total", lost) + 1);
  const earlier = counts(before);
  for (const [series, value] of counts(after))
    expect(value, series).toBeGreaterThanOrEqual(earlier.get(series) ?? 0);
});

test("gauges rise while something is there, and fall when it is gone", async () => {
  const quiet = await scrape();
  expect(quiet.valueOf("http_requests_in_flight")).toBe(0);
  expect(quiet.valueOf("ai_active_sessions", { model: chatModel })).toBe(0);

  instance.upstream.next({ hang: "mid-stream" }, { hang: "before-headers" });
  const leaving = new AbortController();
  const stream = await chat({ stream: true }, leaving.signal);
  const reader = stream.body?.getReader();
  await reader?.read();
  const waiting = chat({}, leaving.signal).catch(() => undefined);
  const socket = connect(Number(new URL(instance.url).port), "127.0.0.1");
  await once(socket, "connect");
  await until(async () => {
    const now = await scrape();
    return (
      now.valueOf("http_requests_in_flight") === 2 &&
      now.valueOf("ai_active_sessions", { model: chatModel }) === 2 &&
      now.valueOf("http_active_connections") > 2
    );
  });

  leaving.abort();
  await waiting;
  await reader?.closed.catch(() => {});
  socket.destroy();
  await until(async () => {
    const now = await scrape();
    return (
      now.valueOf("http_requests_in_flight") === 0 &&
      now.valueOf("ai_active_sessions", { model: chatModel }) === 0
    );
  });
  const after = await scrape();
  expect(after.valueOf("http_requests_total", { method: "POST", path, status: "499" })).toBe(2);
  expect(after.valueOf("http_request_errors_total", { method: "POST", path, status: "499" })).toBe(0);
});

test("buckets are cumulative, ordered and consistent with their counts, also under load", async () => {
  let done = false;
  const load = Promise.all(
    Array.from({ length: 8 }, async () => {
      while (!done) await (await chat()).arrayBuffer();
    }),
  );
  try {
    for (let count = 0; count < 10; count += 1) {
      const metrics = await scrape();
      const { samples, types } = metrics;
      let checked = 0;
      for (const [family, type] of types) {
        if (type !== "histogram") continue;
        const series = Map.groupBy(
          samples.filter(({ name }) => name === `${family}_bucket`),
          ({ labels: { le: _, ...labels } }) => JSON.stringify(labels),
        );
        for (const [labels, buckets] of series) {
          const bounds = buckets.map(({ labels: { le } }) => (le === "+Inf" ? Infinity : Number(le)));
          expect(bounds).toEqual(bounds.toSorted((a, b) => a - b));
          const values = buckets.map(({ value }) => value);
          expect(values).toEqual(values.toSorted((a, b) => a - b));
          expect(bounds.at(-1)).toBe(Infinity);
          expect(metrics.valueOf(`${family}_count`, JSON.parse(labels))).toBe(values.at(-1));
          checked += 1;
        }
      }
      expect(checked).toBeGreaterThan(10);
    }
  } finally {
    done = true;
    await load;
  }
});
