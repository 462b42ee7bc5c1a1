// Which traces of a busy instance are in a real Jaeger: all that failed, all that were slow, of the others one in a
// hundred by chance, each whole; and that the metrics and the log say the same.
import { Agent, request as httpRequest } from "node:http";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import { type JaegerReader, type JaegerTrace, readJaeger } from "./read-jaeger.ts";
import { type Metrics, scrapeMetrics } from "./read-metrics.ts";
import { chatModel, type Instance, startInstance } from "./start-instance.ts";
import { startJaeger } from "./start-jaeger.ts";

const programs = await peer("jaeger");
const requests = 10_000;
const failures = 100;
/** How many of 9,900 traces are kept at one in a hundred, in all but one of 10,000 runs: the binomial distribution. */
const byChance = { atLeast: 62, atMost: 141 };
const slowAfterMs = 2_000;
const workers = 16;
/** Jobs that may run meanwhile. */
const mostJobs = 20;
const chat = { model: chatModel, messages: [{ role: "user", content: "Hi" }] };
const chatPath = "/v1/chat/completions";

interface Answer {
  readonly status: number;
  /** The id of the request without its prefix, which is that of its trace. */
  readonly traceId: string;
}

describe.skipIf(!programs)(
  `${requests} requests of which ${failures} fail, one in a hundred kept by chance`,
  () => {
    const started = new AsyncDisposableStack();
    const agent = new Agent({ keepAlive: true, maxSockets: workers });
    let instance: Instance;
    let jaeger: JaegerReader;
    let failed: readonly string[];
    let lines: Instance["lines"];
    let before: Metrics;
    let after: Metrics;
    let traces: ReadonlyMap<string, JaegerTrace>;

    beforeAll(async () => {
      const process = await startJaeger({ program: programs?.files.jaeger as string });
      started.defer(() => process.stop());
      jaeger = readJaeger(process);
      instance = await startInstance({
        OTEL_EXPORTER_OTLP_ENDPOINT: process.otlpUrl,
        // Nothing is slow here but what is meant to be.
        SLOW_REQUEST_MS: "60000",
        SLOW_INFERENCE_MS: String(slowAfterMs),
        SLOW_QUERY_MS: "60000",
      });
      started.defer(() => instance.stop());
      started.defer(() => agent.destroy());
      before = await settledMetrics();
      failed = (await askAll()).flatMap(({ status, traceId }) => (status === 200 ? [] : [traceId]));
      after = await settledMetrics();
      await until(() => accessLines().length >= requests);
      lines = accessLines();
      traces = new Map((await jaeger.traces("ectus")).map((trace) => [trace.traceId, trace]));
    }, 90_000);
    afterAll(() => started.disposeAsync());

    function ask(method: string, path: string, body?: object): Promise<Answer> {
      const { promise, resolve, reject } = Promise.withResolvers<Answer>();
      const headers = { authorization: `Bearer ${instance.key}`, "content-type": "application/json" };
      const request = httpRequest(instance.url + path, { method, agent, headers });
      request.on("error", reject).on("response", (response) => {
        const { statusCode: status = 0 } = response;
        const traceId = String(response.headers["x-request-id"]).replace("req_", "");
        response.resume().on("end", () => resolve({ status, traceId }));
      });
      request.end(body === undefined ? undefined : JSON.stringify(body));
      return promise;
    }

    /** Of a hundred requests three are chats, of which the upstream fails one. */
    async function askAll(): Promise<Answer[]> {
      // Two of three are answered: a provider that fails more often is not asked for a while.
      for (let count = 0; count < failures; count += 1) instance.upstream.next({}, {}, { status: 500 });
      const answers: Answer[] = [];
      let begun = 0;
      await Promise.all(
        Array.from({ length: workers }, async () => {
          while (begun < requests) {
            begun += 1;
            answers.push(await (begun % 100 < 3 ? ask("POST", chatPath, chat) : ask("GET", "/v1/models")));
          }
        }),
      );
      return answers;
    }

    /** Resolves when no span waits any more. */
    async function settledMetrics(): Promise<Metrics> {
      let metrics = await scrapeMetrics(instance.metricsUrl);
      await until(async () => {
        metrics = await scrapeMetrics(instance.metricsUrl);
        return ["recording", "export"].every(
          (state) => metrics.valueOf("trace_spans_waiting", { state }) === 0,
        );
      }, 20_000);
      return metrics;
    }

    const risen = (name: string, labels?: Readonly<Record<string, string>>): number =>
      after.valueOf(name, labels) - before.valueOf(name, labels);
    const requestTraces = (): JaegerTrace[] =>
      [...traces.values()].filter(({ roots }) => roots.some(({ kind }) => kind === "SERVER"));
    const accessLines = () => instance.lines.filter(({ msg }) => msg === "request");
    const accessLine = (traceId: string) =>
      accessLines().find(({ requestId }) => requestId === `req_${traceId}`);

    test("every one that failed is there, whole", () => {
      expect(failed.length).toBe(failures);
      for (const traceId of failed) {
        const trace = traces.get(traceId);
        expect(treeOf(trace)).toEqual([`POST ${chatPath}`, "  ai.chat", "    HTTP POST"]);
        for (const span of trace?.spans ?? [])
          expect(span).toMatchObject({ status: "ERROR", statusMessage: undefined });
      }
    });

    test("and of the others about one in a hundred", () => {
      const others = requestTraces().filter(({ traceId }) => !failed.includes(traceId));
      expect(others.length).toBeGreaterThanOrEqual(byChance.atLeast);
      expect(others.length).toBeLessThanOrEqual(byChance.atMost);
      for (const { roots, spans } of others) {
        expect(roots.length).toBe(1);
        expect(["GET /v1/models", `POST ${chatPath}`]).toContain(roots[0]?.name);
        expect(spans.every(({ status }) => status === "UNSET")).toBe(true);
      }
    });

    test("the metrics count what Jaeger has, and nothing was lost", () => {
      expect(
        after.samples.filter(({ name, value }) => name === "trace_spans_dropped_total" && value > 0),
      ).toEqual([]);
      const spans = [...traces.values()].reduce((sum, trace) => sum + trace.spans.length, 0);
      expect(after.valueOf("trace_spans_exported_total")).toBe(spans);
      const others = requestTraces().length - failures;
      const jobs = traces.size - requestTraces().length;
      expect(risen("traces_total", { kept: "error" })).toBe(failures);
      expect(risen("traces_total", { kept: "slow" })).toBe(0);
      // Jobs run now and then, and are traced as well.
      expect(risen("traces_total", { kept: "sampled" })).toBeGreaterThanOrEqual(others);
      expect(risen("traces_total", { kept: "sampled" })).toBeLessThanOrEqual(others + jobs);
      const all = ["sampled", "error", "slow", "none"].reduce(
        (sum, kept) => sum + risen("traces_total", { kept }),
        0,
      );
      expect(all).toBeGreaterThanOrEqual(requests);
      expect(all).toBeLessThan(requests + mostJobs);
      expect(risen("http_request_errors_total", { method: "POST", path: chatPath, status: "502" })).toBe(
        failures,
      );
    });

    test("the log's line of a request leads to its trace, and says why it is kept", () => {
      for (const traceId of failed)
        expect(accessLine(traceId)).toMatchObject({ traceId, status: 502, kept: "error" });
      expect(lines.length).toBe(requests);
      const kept = lines.filter((line) => line.kept !== undefined);
      expect(kept.map(({ traceId }) => traceId).toSorted()).toEqual(
        requestTraces()
          .map(({ traceId }) => traceId)
          .toSorted(),
      );
      const root = (traceId: unknown) => traces.get(String(traceId))?.roots[0];
      for (const { traceId, spanId } of kept) expect(root(traceId)?.spanId).toBe(spanId);
    });

    test("a stream that breaks off is kept whole, though it began with 200", async () => {
      instance.upstream.next({ reset: "mid-stream" });
      const { status, traceId } = await ask("POST", chatPath, { ...chat, stream: true });
      expect(status).toBe(200);
      const trace = await jaeger.waitForTrace(traceId, isSettled);
      expect(treeOf(trace)).toEqual(settledTree);
      expect(trace.spans.find(({ name }) => name === "ai.chat")?.status).toBe("ERROR");
      await until(() => accessLine(traceId) !== undefined);
      expect(accessLine(traceId)?.kept).toBe("error");
    });

    test("one that is slow is kept whole, for that", async () => {
      const sampledBefore = (await settledMetrics()).valueOf("traces_total", { kept: "slow" });
      instance.upstream.next({ delayMs: slowAfterMs + 100 });
      const { status, traceId } = await ask("POST", chatPath, chat);
      expect(status).toBe(200);
      const trace = await jaeger.waitForTrace(traceId, isSettled);
      expect(treeOf(trace)).toEqual(settledTree);
      expect(trace.roots[0]?.durationMs).toBeGreaterThan(slowAfterMs);
      await until(() => accessLine(traceId) !== undefined);
      expect(accessLine(traceId)).toMatchObject({ traceId, kept: "slow", status: 200 });
      expect((await settledMetrics()).valueOf("traces_total", { kept: "slow" })).toBe(sampledBefore + 1);
    });
  },
);

const settledTree = [`POST ${chatPath}`, "  ai.chat", "    HTTP POST", "  settle usage"];

/** What is written at the end may be exported after the rest. */
const isSettled = (trace: JaegerTrace): boolean => treeOf(trace).includes("  settle usage");

/** Without waits, of which a busy machine has more. */
function treeOf(trace: JaegerTrace | undefined): readonly string[] {
  return (trace?.outline() ?? []).filter((line) => !/^ *(pool\.wait|ai\.queue|wait )/.test(line));
}
