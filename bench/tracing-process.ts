// One way to record spans in a process of its own: does what it is told on the command line, prints what it measured as
// JSON. Started by bench/tracing.ts with --expose-gc.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { getHeapStatistics } from "node:v8";
import { createLogging } from "@ectus/core";
import {
  createOtlpExporter,
  describeProcess,
  noInstruments,
  Span,
  startTracing,
  type Tracing,
} from "@ectus/monitoring";
import { ROOT_CONTEXT, SpanKind, trace } from "@opentelemetry/api";
import { NoopSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import type { MeasuredExport, MeasuredRecording, Recorder } from "./tracing-measured.ts";

const requests = 200_000;
const warmupRequests = 100_000;
const exportedTraces = 5_000;
const childrenOfRequest = 3;
// As large as limits let a value be.
const longText = "x".repeat(4_096);
const longTraces = 500;
// As many as the queue takes.
const exportedAtOnce = 1_000;
const longAtOnce = 100;

const server = {
  name: "POST /v1/chat/completions",
  kind: SpanKind.SERVER,
  attributes: { "http.request.method": "POST", "http.route": "/v1/chat/completions" },
};
const statement = {
  name: "SELECT tenants",
  kind: SpanKind.CLIENT,
  attributes: {
    "db.system.name": "postgresql",
    "db.operation.name": "SELECT",
    "db.collection.name": "tenants",
  },
};

const [task, subject] = process.argv.slice(2) as ["record" | "export", Recorder];
const measured = task === "record" ? measureRecording(subject) : await measureExport();
process.stdout.write(JSON.stringify(measured));

function start(sampleRatio: number, endpoint: string): Tracing {
  return startTracing({
    exporter: createOtlpExporter({ endpoint, headers: {} }),
    resource: describeProcess({ serviceName: "bench", version: "0", attributes: {} }),
    sampleRatio,
    instruments: noInstruments,
    log: createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("tracing"),
  });
}

/** What a request does whose trace is dropped: a root and so many children. */
function requestOf(recorder: Recorder): (children: number) => void {
  if (recorder === "ours") {
    const tracing = start(0.01, "http://127.0.0.1:1");
    // Made for the request, whether it is traced or not; one that chance does not choose.
    const incoming = {
      id: "0199c1a07b2c7def8000000000000000",
      traceparent: undefined,
      tracestate: undefined,
      isTrusted: () => false,
    };
    return (children) => {
      const root = tracing.beginRequest(server, incoming);
      if (!(root instanceof Span)) throw new Error("nothing is recorded");
      for (let count = 0; count < children; count += 1) root.startChild(statement)?.end();
      root.end();
    };
  }
  // It records all, and its processor exports nothing: the least that keeping failed requests by their end can cost.
  const tracer = new TracerProvider({ spanProcessors: [new NoopSpanProcessor()] }).getTracer("bench");
  return (children) => {
    const root = tracer.startSpan(server.name, server, ROOT_CONTEXT);
    const within = trace.setSpan(ROOT_CONTEXT, root);
    for (let count = 0; count < children; count += 1)
      tracer.startSpan(statement.name, statement, within).end();
    root.end();
  };
}

function measureRecording(recorder: Recorder): MeasuredRecording {
  const request = requestOf(recorder);
  const measure = (children: number): { readonly ns: number; readonly bytes: number } => {
    for (let count = 0; count < warmupRequests; count += 1) request(children);
    globalThis.gc?.();
    const before = process.cpuUsage();
    for (let count = 0; count < requests; count += 1) request(children);
    const { user, system } = process.cpuUsage(before);
    return { ns: ((user + system) * 1_000) / requests, bytes: allocatedBy(() => request(children)) };
  };
  return { one: measure(0), four: measure(childrenOfRequest) };
}

/** Bytes of heap that a call takes. */
function allocatedBy(work: () => void): number {
  const calls = 10_000;
  const before = allocated();
  for (let count = 0; count < calls; count += 1) work();
  return (allocated() - before) / calls;
}

/** Bytes of heap since the process began. Newer than the types of Node.js that this is checked with. */
function allocated(): number {
  const statistics = getHeapStatistics() as unknown as { readonly total_allocated_bytes: number };
  return statistics.total_allocated_bytes;
}

/** Traces that are kept, from their first span to the answer of a receiver in a process of its own. */
async function measureExport(): Promise<MeasuredExport> {
  const receiver = fork(new URL("observability-receiver.ts", import.meta.url), { stdio: "inherit" });
  try {
    const tracing = start(1, await endpointOf(receiver));
    const usual = (): void => {
      const root = tracing.beginTrace(server);
      for (let count = 0; count < childrenOfRequest; count += 1)
        root?.startChild(statement)?.setAttribute("rows", 1).end();
      root?.end();
    };
    const long = (): void => {
      const root = tracing.beginTrace(server);
      for (let count = 0; count < 128; count += 1) root?.setAttribute(`attribute.${count}`, longText);
      root?.end();
    };
    // Twice, since nothing is compiled at first.
    await exported(tracing, usual, exportedTraces, exportedAtOnce);
    const before = process.cpuUsage();
    const stallMs = await exported(tracing, usual, exportedTraces, exportedAtOnce);
    const { user, system } = process.cpuUsage(before);
    const longStallMs = await exported(tracing, long, longTraces, longAtOnce);
    await tracing.close();
    return {
      usPerSpan: (user + system) / (exportedTraces * (1 + childrenOfRequest)),
      stallMs,
      longStallMs,
    };
  } finally {
    receiver.kill();
  }
}

async function endpointOf(receiver: ChildProcess): Promise<string> {
  const [port] = await once(receiver, "message");
  return `http://127.0.0.1:${port}`;
}

/**
 * Exports so many traces, as many at a time as the queue takes. Gives for how long the event loop did not turn, in the
 * quietest of those times: other programs of the machine only make it longer.
 */
async function exported(
  tracing: Tracing,
  record: () => void,
  traces: number,
  atOnce: number,
): Promise<number> {
  let quietestMs = Number.POSITIVE_INFINITY;
  for (let count = 0; count < traces; count += atOnce) {
    for (let begun = 0; begun < atOnce; begun += 1) record();
    let stallMs = 0;
    let last = performance.now();
    let isOver = false;
    const turn = (): void => {
      const now = performance.now();
      stallMs = Math.max(stallMs, now - last);
      last = now;
      if (!isOver) setImmediate(turn);
    };
    setImmediate(turn);
    await tracing.flush();
    isOver = true;
    quietestMs = Math.min(quietestMs, stallMs);
  }
  return quietestMs;
}
