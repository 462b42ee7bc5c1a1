// A real Prometheus scrapes a running Ectus-R in each format, and what it stored is compared with what clients did.
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import {
  chatModel,
  embeddingModel,
  fallbackModel,
  freeModel,
  type Instance,
  startInstance,
} from "./start-instance.ts";
import { type NativeHistogram, type Prometheus, type Sample, startPrometheus } from "./start-prometheus.ts";

const programs = await peer("prometheus");

/** One scrape job for each format. */
const jobs = {
  protobuf: {
    scrape_protocols: ["PrometheusProto"],
    scrape_native_histograms: true,
    always_scrape_classic_histograms: true,
  },
  openmetrics: { scrape_protocols: ["OpenMetricsText1.0.0"] },
  text: { scrape_protocols: ["PrometheusText0.0.4"] },
  text1: { scrape_protocols: ["PrometheusText1.0.0"] },
} as const;
const jobNames = Object.keys(jobs) as (keyof typeof jobs)[];

const chatPath = "/v1/chat/completions";
const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const chats = 120;
const streams = 20;
const embeddings = 15;
const unmatched = 7;
const failures = 4;
const mended = 3;
const tokens = { prompt_tokens: 11, completion_tokens: 5 };

let instance: Instance;
let prometheus: Prometheus;

async function send(method: string, path: string, body?: object, headers: object = {}): Promise<number> {
  const answer = await fetch(instance.url + path, {
    method,
    headers: { authorization: `Bearer ${instance.key}`, "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  await answer.arrayBuffer();
  return answer.status;
}

const chat = (model: string, more: object = {}, headers: object = {}): Promise<number> =>
  send("POST", chatPath, { model, messages: [{ role: "user", content: "Hi" }], ...more }, headers);

/** What clients do. Delays of the upstream spread the times over several buckets. */
async function drive({ upstream }: Instance): Promise<void> {
  upstream.always({ usage: tokens });
  const delays = Array.from({ length: chats }, (_, index) => (index * 7) % 60);
  for (let from = 0; from < chats; from += 10) {
    const batch = delays.slice(from, from + 10);
    upstream.next(...batch.map((delayMs) => ({ delayMs, usage: tokens })));
    await Promise.all(batch.map(() => chat(chatModel)));
  }
  for (let count = 0; count < streams; count += 1) expect(await chat(chatModel, { stream: true })).toBe(200);
  for (let count = 0; count < embeddings; count += 1)
    expect(await send("POST", "/v1/embeddings", { model: embeddingModel, input: "Hi" })).toBe(200);
  for (let count = 0; count < unmatched; count += 1) expect(await send("GET", `/nowhere/${count}`)).toBe(404);
  upstream.next(...Array.from({ length: failures }, () => ({ status: 500 })));
  for (let count = 0; count < failures; count += 1) expect(await chat(freeModel)).toBe(502);
  for (let count = 0; count < mended; count += 1) expect(await chat(fallbackModel)).toBe(200);
  const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;
  expect(await chat(freeModel, {}, { traceparent })).toBe(200);
}

/** Requests by what the server logged of them. */
const accessLines = () => instance.lines.filter(({ msg }) => msg === "request");
const total = chats + streams + embeddings + unmatched + failures + mended + 1;

describe.skipIf(!programs)("Prometheus", () => {
  beforeAll(async () => {
    instance = await startInstance({ TRACE_TRUSTED_PEERS: "127.0.0.1", OTEL_TRACES_SAMPLER_ARG: "0" });
    await drive(instance);
    await until(() => accessLines().length >= total);
    const { host } = new URL(instance.metricsUrl);
    prometheus = await startPrometheus({
      program: programs?.files.prometheus as string,
      config: {
        global: { scrape_interval: "1s", scrape_timeout: "1s" },
        scrape_configs: jobNames.map((job) => ({
          job_name: job,
          static_configs: [{ targets: [host] }],
          ...jobs[job],
        })),
      },
    });
    await prometheus.scraped();
  }, 120_000);
  afterAll(async () => {
    await prometheus?.stop();
    await instance?.stop();
  });

  const one = async (expression: string): Promise<number> => {
    const samples = await prometheus.query(expression);
    expect(samples, expression).toHaveLength(1);
    return Number(samples[0]?.value?.[1]);
  };

  test("scrapes every format without an error", async () => {
    for (const { labels, health, lastError } of await prometheus.targets())
      expect({ job: labels.job, health, lastError }).toEqual({
        job: labels.job,
        health: "up",
        lastError: "",
      });
    expect(prometheus.log()).not.toMatch(/level=(WARN|ERROR).*(scrape|append)/i);
  });

  test.each(jobNames)("has exact counts of requests by %s", async (job) => {
    const counted = new Map<string, number>();
    for (const { method, path, status } of accessLines()) {
      const key = `${method} ${path} ${status}`;
      counted.set(key, (counted.get(key) ?? 0) + 1);
    }
    expect(counted.get(`POST ${chatPath} 200`)).toBe(chats + streams + mended + 1);
    expect(counted.get("GET unmatched 404")).toBe(unmatched);
    for (const name of ["http_requests_total", "http_request_duration_seconds_count"]) {
      const stored = await prometheus.query(`${name}{job="${job}"}`);
      const seen = stored.map(({ metric, value }) => [
        `${metric.method} ${metric.path} ${metric.status}`,
        Number(value?.[1]),
      ]);
      expect(new Map(seen as [string, number][]), name).toEqual(counted);
    }
    expect(await one(`sum(http_request_errors_total{job="${job}"})`)).toBe(failures);
    // The scrapes are on another server.
    expect(await one(`http_requests_in_flight{job="${job}"}`)).toBe(0);
  });

  test.each(jobNames)("has exact counts of inference by %s", async (job) => {
    const requests = async (labels: string) =>
      one(`sum(ai_inference_requests_total{job="${job}",${labels}})`);
    expect(await requests(`provider="double",model="${chatModel}",outcome="completed"`)).toBe(
      chats + streams,
    );
    expect(await requests(`provider="double",model="${freeModel}",outcome="failed"`)).toBe(failures);
    expect(await requests(`provider="double",model="${fallbackModel}",outcome="completed"`)).toBe(mended);
    expect(await one(`sum(ai_inference_errors_total{job="${job}",provider="nobody"})`)).toBe(mended);
    expect(await one(`ai_tokens_total{job="${job}",model="${chatModel}",type="input"}`)).toBe(
      (chats + streams) * tokens.prompt_tokens,
    );
    expect(await one(`ai_tokens_total{job="${job}",model="${chatModel}",type="output"}`)).toBe(
      (chats + streams) * tokens.completion_tokens,
    );
    const cost = (chats + streams) * (tokens.prompt_tokens + 2 * tokens.completion_tokens) * 1e-6;
    expect(await one(`ai_cost_usd_total{job="${job}",model="${chatModel}"}`)).toBeCloseTo(cost, 12);
    expect(await prometheus.query(`ai_cost_usd_total{job="${job}",model="${freeModel}"}`)).toEqual([]);
    expect(await one(`ai_time_to_first_token_seconds_count{job="${job}"}`)).toBe(streams);
    expect(await one(`sum(ai_active_sessions{job="${job}"})`)).toBe(0);
  });

  test("has the same series and values in every format", async () => {
    const seriesOf = async (job: string) => {
      const samples = await prometheus.query(`{job="${job}",__name__=~"(http|ai)_.+"}`);
      return new Map(
        samples.flatMap(({ metric, value }) => {
          const { job: _job, ...labels } = metric;
          const name = Object.entries(labels).sort().join(" ");
          return value === undefined ? [] : [[name, value[1]] as const];
        }),
      );
    };
    const expected = await seriesOf("text");
    expect(expected.size).toBeGreaterThan(200);
    for (const job of jobNames) expect(await seriesOf(job), job).toEqual(expected);
  });

  test("has quantiles within a bucket of the true ones, classic and native", async () => {
    const times = accessLines()
      .filter(({ path, status }) => path === chatPath && status === 200)
      .map(({ durationMs }) => (durationMs as number) / 1000)
      .sort((a, b) => a - b);
    const selector = `path="${chatPath}",status="200"`;
    const [sample] = (await prometheus.query(
      `sum(http_request_duration_seconds{job="protobuf",${selector}})`,
    )) as [Sample];
    const native = sample.histogram?.[1] as NativeHistogram;
    expect(Number(native.count)).toBe(times.length);
    const classic = await prometheus.query(`http_request_duration_seconds_bucket{job="text",${selector}}`);
    const bounds = classic.map(({ metric }) => Number(metric.le === "+Inf" ? Infinity : metric.le));
    expect(bounds).toHaveLength(14);
    for (const quantile of [0.5, 0.9, 0.95, 0.99]) {
      // The server's log and its metrics each take the time themselves: a little apart.
      const truth = times[Math.ceil(quantile * times.length) - 1] as number;
      const [least, most] = [truth * 0.97 - 0.0005, truth * 1.03 + 0.0005];
      const fromClassic = await one(
        `histogram_quantile(${quantile}, http_request_duration_seconds_bucket{job="text",${selector}})`,
      );
      const lower = Math.max(0, ...bounds.filter((bound) => bound < least));
      const upper = Math.min(...bounds.filter((bound) => bound >= most));
      expect(fromClassic, `classic ${quantile}`).toBeGreaterThanOrEqual(lower);
      expect(fromClassic, `classic ${quantile}`).toBeLessThanOrEqual(upper);
      const fromNative = await one(
        `histogram_quantile(${quantile}, http_request_duration_seconds{job="protobuf",${selector}})`,
      );
      const growth = 2 ** (1 / 8);
      expect(fromNative, `native ${quantile}`).toBeGreaterThanOrEqual(least / growth);
      expect(fromNative, `native ${quantile}`).toBeLessThanOrEqual(most * growth);
    }
  });

  test.each(["openmetrics", "protobuf"])("keeps exemplars that lead to the trace, by %s", async (job) => {
    const found = await prometheus.exemplars(`{job="${job}"}`);
    const names = found
      .filter(({ exemplars }) => exemplars.some(({ labels }) => labels.trace_id === traceId))
      .map(({ seriesLabels }) => seriesLabels.__name__);
    expect(names).toContain("http_request_duration_seconds_bucket");
    expect(names).toContain("http_requests_total");
    // None leads to a trace that was dropped.
    const kept = instance.lines.filter((line) => line.kept !== undefined).map((line) => line.traceId);
    expect(kept).toContain(traceId);
    expect(kept.length).toBeGreaterThanOrEqual(1 + failures + mended);
    for (const { exemplars } of found)
      for (const { labels } of exemplars) expect(kept).toContain(labels.trace_id);
  });
});
