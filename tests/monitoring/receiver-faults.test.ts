// A receiver of traces that is not there, fails, hangs or comes back: requests do not notice, memory has a bound, what
// is lost is counted, and the log says once that it begins and once that it is over.
import { Agent, request as httpRequest } from "node:http";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findFreePort } from "../free-port.ts";
import { until } from "../postgres/until.ts";
import { type OtlpReceiver, type Reaction, startOtlpReceiver } from "./otlp-receiver.ts";
import { readJaeger } from "./read-jaeger.ts";
import { type Metrics, scrapeMetrics } from "./read-metrics.ts";
import { type Instance, startInstance } from "./start-instance.ts";
import { type Jaeger, startJaeger } from "./start-jaeger.ts";

const jaegerPrograms = await peer("jaeger");
/** How long a change may take to be noticed: an export that hangs has its own timeout. */
const changeMs = 30_000;
/** Spans that wait for their export at most. */
const mostWaiting = 8_192;

const agent = new Agent({ keepAlive: true, maxSockets: 8 });
afterAll(() => agent.destroy());

interface Answer {
  readonly status: number;
  readonly traceId: string;
  readonly durationMs: number;
}

/** A request that is refused before anything is asked of the database: its trace is one span. */
function ask({ url }: Instance): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const startMs = performance.now();
  const request = httpRequest(`${url}/v1/models`, { agent });
  request.on("error", reject).on("response", (response) => {
    const { statusCode: status = 0 } = response;
    const traceId = String(response.headers["x-request-id"]).replace("req_", "");
    response.resume().on("end", () => resolve({ status, traceId, durationMs: performance.now() - startMs }));
  });
  request.end();
  return promise;
}

async function askMany(instance: Instance, count: number): Promise<Answer[]> {
  const answers: Answer[] = [];
  let begun = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (; begun < count; ) {
        begun += 1;
        answers.push(await ask(instance));
      }
    }),
  );
  return answers;
}

/** Asks until `condition` holds; gives how many requests that took. */
async function askUntil(instance: Instance, condition: () => boolean): Promise<number> {
  let count = 0;
  await until(
    async () => {
      if (condition()) return true;
      count += 1;
      expect((await ask(instance)).status).toBe(401);
      return false;
    },
    changeMs,
    10,
  );
  return count;
}

/** Of requests one after the other, in milliseconds. */
async function medianLatency(instance: Instance): Promise<number> {
  const durations: number[] = [];
  for (let count = 0; count < 200; count += 1) durations.push((await ask(instance)).durationMs);
  return durations.toSorted((a, b) => a - b)[100] as number;
}

const tracingLevels = ({ lines }: Instance): unknown[] =>
  lines.flatMap(({ module, level }) => (module === "tracing" ? [level] : []));

describe.skipIf(!jaegerPrograms)("a Jaeger", () => {
  const started = new AsyncDisposableStack();
  afterAll(() => started.disposeAsync());

  test("that is not there at first, goes under load and comes back: each change is one line, and spans arrive", async () => {
    const program = jaegerPrograms?.files.jaeger as string;
    const [otlp, query, queryGrpc] = [await findFreePort(), await findFreePort(), await findFreePort()];
    const instance = await startInstance({
      OTEL_TRACES_SAMPLER_ARG: "1",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${otlp}`,
    });
    started.defer(() => instance.stop());
    const start = async (): Promise<Jaeger> => {
      const jaeger = await startJaeger({ program, ports: { otlp, query, queryGrpc } });
      started.defer(() => jaeger.stop());
      return jaeger;
    };
    const isThere = async (jaeger: Jaeger): Promise<void> => {
      const { traceId } = await ask(instance);
      expect((await readJaeger(jaeger).waitForTrace(traceId)).outline()).toEqual(["GET /v1/models"]);
    };

    await askUntil(instance, () => tracingLevels(instance).length === 1);
    const first = await start();
    await askUntil(instance, () => tracingLevels(instance).length === 2);
    await isThere(first);

    let isOver = false;
    const answers: Answer[] = [];
    const load = Array.from({ length: 4 }, async () => {
      while (!isOver) answers.push(await ask(instance));
    });
    try {
      await first.stop();
      await until(() => tracingLevels(instance).length === 3, changeMs);
      const second = await start();
      await until(() => tracingLevels(instance).length === 4, changeMs);
      isOver = true;
      await isThere(second);
    } finally {
      isOver = true;
      await Promise.all(load);
    }
    expect(tracingLevels(instance)).toEqual(["warn", "info", "warn", "info"]);
    expect(answers.length).toBeGreaterThan(100);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
  }, 90_000);
});

test("without a receiver one line says what to do, and a stop takes no longer", async () => {
  await using started = new AsyncDisposableStack();
  const instance = await startInstance({
    OTEL_TRACES_SAMPLER_ARG: "1",
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://user:word@localhost:${await findFreePort()}`,
  });
  started.defer(() => instance.stop());
  await askUntil(instance, () => tracingLevels(instance).length > 0);
  await askMany(instance, 500);
  const startMs = performance.now();
  await started.disposeAsync();
  // One that is there and does not answer is given five seconds.
  expect(performance.now() - startMs).toBeLessThan(5_000);
  expect(instance.lines.filter(({ module }) => module === "tracing")).toMatchObject([
    {
      level: "warn",
      reason: "ECONNREFUSED",
      msg: expect.stringMatching(/OTEL_EXPORTER_OTLP_ENDPOINT.*OTEL_SDK_DISABLED=true/),
    },
  ]);
  expect(instance.stdout()).not.toContain("word@");
}, 60_000);

describe("a receiver", () => {
  let receiver: OtlpReceiver;
  let instance: Instance;

  beforeAll(async () => {
    receiver = await startOtlpReceiver();
    instance = await startInstance({
      OTEL_TRACES_SAMPLER_ARG: "1",
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
      // Without the lines of requests, which are many.
      LOG_LEVEL: "warn,cli=info,tracing=info",
    });
  });
  afterAll(async () => {
    await instance?.stop();
    await receiver?.close();
  });

  const waitingSpans = (metrics: Metrics): number =>
    metrics.valueOf("trace_spans_waiting", { state: "export" });
  const lostSpans = ({ samples }: Metrics): number =>
    samples.reduce((sum, { name, value }) => sum + (name === "trace_spans_dropped_total" ? value : 0), 0);

  async function settledMetrics(): Promise<Metrics> {
    let metrics = await scrapeMetrics(instance.metricsUrl);
    await until(async () => {
      metrics = await scrapeMetrics(instance.metricsUrl);
      return waitingSpans(metrics) === 0;
    }, changeMs);
    return metrics;
  }

  /** Least time between two tries. */
  const pauseMs = (reaction: Reaction): number =>
    typeof reaction === "object" && reaction.retryAfterSeconds !== undefined
      ? Math.min(reaction.retryAfterSeconds * 1_000, 10_000)
      : 375;
  /** Whether what it refuses is not sent again. */
  const isFinal = (reaction: Reaction): boolean => typeof reaction === "object" && reaction.status === 400;

  const reactions: readonly [string, Reaction][] = [
    ["answers with 429 and Retry-After", { status: 429, retryAfterSeconds: 1 }],
    ["answers with 503", { status: 503 }],
    ["answers with 503 and Retry-After of an hour", { status: 503, retryAfterSeconds: 3_600 }],
    ["answers with 400", { status: 400 }],
    ["hangs", "hangs"],
    ["resets connections", "resets the connection"],
    ["breaks off its answers", "breaks off its answer"],
  ];

  test.each(reactions)(
    "that %s: requests are as fast, what is lost is counted, two lines tell",
    async (_, reaction) => {
      const before = await settledMetrics();
      const linesBefore = tracingLevels(instance).length;
      const takenBefore = receiver.spanIds.length;
      const fast = await medianLatency(instance);

      receiver.reactWith(reaction);
      const faultyFromMs = performance.now();
      const triesBefore = receiver.requestCount;
      let requests = 200;
      requests += await askUntil(instance, () => tracingLevels(instance).length > linesBefore);
      const slow = await medianLatency(instance);
      // More than may wait.
      const answers = await askMany(instance, 12_000);
      requests += 200 + answers.length;
      expect(answers.every(({ status }) => status === 401)).toBe(true);
      // Other tests take their part of this machine, so more than twice as long is not its fault yet.
      expect(slow).toBeLessThan(fast * 2 + 5);
      const during = await scrapeMetrics(instance.metricsUrl);
      expect(waitingSpans(during)).toBeLessThanOrEqual(mostWaiting);
      expect(tracingLevels(instance).slice(linesBefore)).toEqual(["warn"]);

      // Neither a try after the other nor sooner than was asked for; the first is under way.
      const mostTries = 3 + (performance.now() - faultyFromMs) / pauseMs(reaction);
      const tries = receiver.requestCount - triesBefore;
      if (!isFinal(reaction)) expect(tries).toBeLessThan(mostTries);
      expect(receiver.largestBytes).toBeLessThan(2 ** 20);

      receiver.reactWith({ status: 200 });
      requests += await askUntil(instance, () => tracingLevels(instance).length > linesBefore + 1);
      const after = await settledMetrics();
      expect(tracingLevels(instance).slice(linesBefore)).toEqual(["warn", "info"]);
      const exported =
        after.valueOf("trace_spans_exported_total") - before.valueOf("trace_spans_exported_total");
      expect(receiver.spanIds.length - takenBefore).toBe(exported);
      expect(new Set(receiver.spanIds).size).toBe(receiver.spanIds.length);
      const lost = lostSpans(after) - lostSpans(before);
      expect(lost).toBeGreaterThan(0);
      // Each request is a span; a job that runs meanwhile has some, too.
      expect(exported + lost).toBeGreaterThanOrEqual(requests);
      expect(exported + lost).toBeLessThan(requests + 200);
      const grown =
        after.valueOf("process_resident_memory_bytes") - before.valueOf("process_resident_memory_bytes");
      expect(grown / 2 ** 20).toBeLessThan(150);
    },
    80_000,
  );
});
