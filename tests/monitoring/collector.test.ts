// The log of a running instance, read by a real OpenTelemetry Collector with the configuration that Kubernetes uses:
// each line arrives once with its fields in their places, and leads to its trace in a real Jaeger.
import { appendFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import { openContainerLog } from "./container-log.ts";
import { type LogReceiver, type LogRecord, startLogReceiver } from "./log-receiver.ts";
import { type JaegerReader, readJaeger } from "./read-jaeger.ts";
import { startCollector } from "./start-collector.ts";
import { chatModel, embeddingModel, type Instance, startInstance } from "./start-instance.ts";
import { startJaeger } from "./start-jaeger.ts";

const program = (await peer("otel-collector"))?.files.otelcol ?? "";
const jaegerProgram = (await peer("jaeger"))?.files.jaeger ?? "";
const chatPath = "/v1/chat/completions";

type Fields = Readonly<Record<string, unknown>>;

describe.skipIf(program === "" || jaegerProgram === "")("the log of a running instance", () => {
  const started = new AsyncDisposableStack();
  let instance: Instance;
  let jaeger: JaegerReader;
  let receiver: LogReceiver;
  /** Of the container's log, and of the same in a file as it was printed. */
  let files: { readonly container: string; readonly plain: string };
  let printed: readonly Fields[];

  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), "ectus-collector-"));
    started.defer(() => rm(folder, { recursive: true, force: true }));
    const jaegerProcess = await startJaeger({ program: jaegerProgram });
    started.defer(() => jaegerProcess.stop());
    jaeger = readJaeger(jaegerProcess);
    receiver = await startLogReceiver();
    started.defer(() => receiver.close());
    instance = await startInstance({
      LOG_LEVEL: "debug",
      SLOW_QUERY_MS: "1",
      OTEL_TRACES_SAMPLER_ARG: "1",
      OTEL_EXPORTER_OTLP_ENDPOINT: jaegerProcess.otlpUrl,
    });
    started.defer(() => instance.stop());
    const pods = join(folder, "pods");
    const log = await openContainerLog(pods, {
      namespace: "ectus",
      name: "ectus-r-7d9f-abcde",
      uid: "49cc7c1f",
      container: "ectus-r",
    });
    const plain = join(pods, "ectus_plain_1", "ectus-r", "0.log");
    await mkdir(dirname(plain), { recursive: true });
    files = { container: log.file, plain };

    const kept = { stdout: 0, stderr: 0 };
    /** Does what the kubelet does all the time: keeps the whole lines that have been printed since. */
    async function keepLog(): Promise<void> {
      for (const stream of ["stdout", "stderr"] as const) {
        const text = instance[stream]();
        const end = text.lastIndexOf("\n") + 1;
        await log.append(stream, text.slice(kept[stream], end));
        await appendFile(plain, text.slice(kept[stream], end));
        kept[stream] = end;
      }
    }

    await keepLog();
    const collector = await startCollector({
      program,
      logFiles: join(pods, "ectus_*", "*", "*.log"),
      stateFolder: join(folder, "state"),
      endpoint: receiver.endpoint,
    });
    started.defer(() => collector.kill());
    for (const step of [chats, embeddings, failures]) {
      await step();
      await keepLog();
    }
    await instance.stop();
    await keepLog();
    printed = instance
      .stdout()
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
    for (const place of ["container", "plain"] as const)
      await until(() => recordsOf(place).length >= printed.length && textsOf(place).length > 0, 20_000);
    await collector.stop();
  }, 90_000);
  afterAll(() => started.disposeAsync());

  async function send(method: string, path: string, body?: object, headers: object = {}): Promise<number> {
    const answer = await fetch(instance.url + path, {
      method,
      headers: { authorization: `Bearer ${instance.key}`, "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    await answer.arrayBuffer();
    return answer.status;
  }
  const chat = (more: object = {}): object => ({
    model: chatModel,
    messages: [{ role: "user", content: "Hi" }],
    ...more,
  });
  async function chats(): Promise<void> {
    for (let count = 0; count < 5; count += 1) expect(await send("POST", chatPath, chat())).toBe(200);
    expect(await send("POST", chatPath, chat({ stream: true }))).toBe(200);
    expect(await send("POST", chatPath, chat(), { "x-correlation-id": "order-4711" })).toBe(200);
  }
  async function embeddings(): Promise<void> {
    expect(await send("POST", "/v1/embeddings", { model: embeddingModel, input: "Hi" })).toBe(200);
    expect(await send("GET", "/v1/models")).toBe(200);
  }
  async function failures(): Promise<void> {
    instance.upstream.next({ status: 500 });
    expect(await send("POST", chatPath, chat())).toBeGreaterThanOrEqual(500);
    expect(await send("POST", chatPath, { model: 1 })).toBe(400);
    expect(await send("GET", "/nowhere")).toBe(404);
    expect(await send("GET", "/v1/models", undefined, { authorization: "Bearer none" })).toBe(401);
  }

  const recordsIn = (place: keyof typeof files): readonly LogRecord[] =>
    receiver.records.filter(({ attributes }) => attributes["log.file.path"] === files[place]);
  const recordsOf = (place: keyof typeof files): readonly LogRecord[] =>
    recordsIn(place).filter(({ attributes }) => attributes.module !== undefined);
  /** Of what is no line: text for people. */
  const textsOf = (place: keyof typeof files): readonly LogRecord[] =>
    recordsIn(place).filter(({ attributes }) => attributes.module === undefined);
  const accessRecords = (): readonly LogRecord[] =>
    recordsOf("container").filter(({ body, attributes }) => body === "request" && "status" in attributes);

  test.each(["container", "plain"] as const)("each line arrives once and whole (%s)", (place) => {
    expect(printed.length).toBeGreaterThan(15);
    expect(new Set(printed.map(({ level }) => level)).size).toBeGreaterThan(1);
    expect(recordsOf(place).map(fieldsOf).map(canonical).toSorted()).toEqual(
      printed.map(canonical).toSorted(),
    );
  });

  test("what is no line arrives, too", () => {
    for (const place of ["container", "plain"] as const) {
      const welcome = textsOf(place).filter(({ body }) => String(body).includes("Ectus-R answers at"));
      expect(welcome).toHaveLength(1);
      expect(welcome[0]).toMatchObject({ severityText: "info", traceId: "" });
    }
  });

  test("what is said of the service is what its traces say", async () => {
    const [record] = accessRecords();
    const trace = await jaeger.waitForTrace(String(record?.traceId));
    expect(record?.resource["service.name"]).toBe(trace.spans[0]?.resource["service.name"]);
  });

  test("a request that failed is found by its status, and leads to its trace and from there back", async () => {
    const failed = accessRecords().filter(({ attributes }) => Number(attributes.status) >= 500);
    expect(failed).toHaveLength(1);
    const [{ traceId, spanId, attributes } = {} as LogRecord] = failed;
    expect(attributes.requestId).toBe(`req_${traceId}`);
    const trace = await jaeger.waitForTrace(traceId);
    expect(trace.roots).toHaveLength(1);
    expect(trace.roots[0]).toMatchObject({
      spanId,
      name: `POST ${chatPath}`,
      status: "ERROR",
      attributes: { "http.response.status_code": attributes.status },
    });
    const spanIds = new Set(trace.spans.map((span) => span.spanId));
    const lines = recordsOf("container").filter((record) => record.traceId === traceId);
    expect(lines.length).toBeGreaterThan(1);
    for (const line of lines) expect(spanIds).toContain(line.spanId);
  });

  test("each other request leads to its trace by its correlation id", async () => {
    const answered = accessRecords().filter(({ attributes }) => attributes.status === 200);
    expect(answered.filter(({ attributes }) => attributes.correlationId === "order-4711")).toHaveLength(1);
    for (const { traceId, spanId } of answered) {
      const { roots } = await jaeger.waitForTrace(traceId);
      expect(roots.map((root) => root.spanId)).toEqual([spanId]);
    }
  });
});

/** The fields of the line that a record was made of. */
function fieldsOf({ timeMs, severity, severityText, traceId, spanId, body, attributes }: LogRecord): Fields {
  const { "log.file.path": _, "log.file.name": __, "log.iostream": ___, ...others } = attributes;
  const numbers = { trace: 1, debug: 5, info: 9, warn: 13, error: 17, fatal: 21 };
  expect(severity).toBe(numbers[severityText as keyof typeof numbers]);
  return {
    ...others,
    level: severityText,
    time: new Date(timeMs).toISOString(),
    ...(traceId === "" ? {} : { traceId, spanId }),
    msg: body,
  };
}

/** As text in which the order of fields is gone, and fields that are null: OTLP has none. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(
          Object.entries(inner)
            .filter(([, field]) => field !== null && field !== undefined)
            .sort(([one], [other]) => (one < other ? -1 : 1)),
        )
      : inner,
  );
}
