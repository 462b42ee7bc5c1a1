// What observability costs a server: bare Fastify; Ectus-R's whole, that is metrics, one access line as JSON, context
// and 1 % of traces; the same without each part; and what is usual: fastify-metrics, OpenTelemetry's
// auto-instrumentations at 1 %, and Fastify's own logger. The same load on each in turn, medians of rounds, each with
// servers of its own. What they log is read from their standard output by this process, as it is in a container; their
// traces go to a receiver. All are checked to have done the work: as many access lines and counted requests as answers,
// and about 1 % of the traces.
import { type ChildProcess, type ForkOptions, fork } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { startScraper } from "./http.ts";
import { describeMachine } from "./machine.ts";
import {
  path,
  type Received,
  route,
  type ServerKind,
  type ServerPorts,
  sampleRatio,
  serverKinds,
} from "./observability-kinds.ts";
import type { Load, LoadMessage, LoadResult } from "./observability-load.ts";
import { cpuMs } from "./proc.ts";
import { type Bench, type BenchContext, median, type Row, round, type Table, toAim } from "./report.ts";

const rounds = 5;
const connections = 64;
const most = { connections, perSecond: null, warmupMs: 1_000, forMs: 1_600 } as const;
// The load compiles its own code for the first time in the first of them.
const paced = { connections, warmupMs: 700, forMs: 2_000 } as const;
// Of what the usual stack can do, so that none waits in a queue that only grows; and of what bare Fastify can do.
const lowShare = 0.5;
const highShare = 0.4;
// A server that is scraped has been scraped before: the first scrapes are slow, since nothing is compiled.
const warmupScrapes = 30;
const timeoutMs = 60_000;

const titles: Readonly<Record<ServerKind, string>> = {
  bare: "bare Fastify",
  ours: "Ectus-R's metrics, access line, context and traces",
  usual: "fastify-metrics, OpenTelemetry and Fastify's logger",
  "usual-own-log": "the same, OpenTelemetry not seeing the log",
  "without-traces": "Ectus-R's without traces",
  "without-log": "Ectus-R's without the access line",
  "without-metrics": "Ectus-R's without metrics",
  "context-only": "Ectus-R's context alone",
};

/** What each server is checked to have done. */
const doneBy: Readonly<Record<ServerKind, { log: boolean; traces: boolean }>> = {
  bare: { log: false, traces: false },
  ours: { log: true, traces: true },
  usual: { log: true, traces: true },
  "usual-own-log": { log: true, traces: true },
  "without-traces": { log: true, traces: false },
  "without-log": { log: false, traces: true },
  "without-metrics": { log: true, traces: true },
  "context-only": { log: false, traces: false },
};

interface Measured {
  readonly requestsPerSecond: number;
  readonly cpuMicroseconds: number;
  readonly p99Ms: number;
  readonly loadBusy: number;
  readonly low: LoadResult | undefined;
  readonly high: LoadResult | undefined;
}

interface Rates {
  readonly low: number;
  readonly high: number;
}

type MeasuredRounds = ReadonlyMap<ServerKind, readonly Measured[]>;

export const observability: Bench = {
  name: "observability",
  async run(context) {
    const machine = await describeMachine();
    const { measured, rates } = await measureAll(context);
    // Within each round, then the median.
    const ratio = (a: ServerKind, b: ServerKind, field: (one: Measured) => number): number =>
      medianOf(measured, a, (one, number) => field(one) / field(measured.get(b)?.[number] as Measured));
    const speed = ({ requestsPerSecond }: Measured): number => requestsPerSecond;
    const rows = rowsOf(measured, (kind) => ratio(kind, "bare", speed));
    const aims = [
      toAim("requests/s, share of bare Fastify's", ratio("ours", "bare", speed), "at-least", 0.7),
      toAim("requests/s, times the usual stack's", ratio("ours", "usual", speed), "at-least", 6),
      toAim(
        "p99 at the most requests/s, times bare Fastify's",
        ratio("ours", "bare", ({ p99Ms }) => p99Ms),
        "at-most",
        2,
      ),
      toAim(
        `p99 at ${rates.low} requests/s, times bare Fastify's`,
        ratio("ours", "bare", ({ low }) => low?.p99 ?? Number.NaN),
        "at-most",
        2,
      ),
      toAim(
        `p99 at ${rates.high} requests/s, times bare Fastify's`,
        ratio("ours", "bare", ({ high }) => high?.p99 ?? Number.NaN),
        "at-most",
        2,
      ),
    ];
    return {
      report: { machine, versions: await versions(), rows, aims },
      tables: [mainTable(rows, rates), partsTable(measured)],
    };
  },
};

function medianOf(
  measured: MeasuredRounds,
  kind: ServerKind,
  field: (one: Measured, number: number) => number,
): number {
  return median((measured.get(kind) ?? []).map(field));
}

function rowsOf(measured: MeasuredRounds, share: (kind: ServerKind) => number): readonly Row[] {
  return serverKinds.map((kind) => {
    const of = (field: (one: Measured) => number | undefined): number | null => {
      const value = medianOf(measured, kind, (one) => field(one) ?? Number.NaN);
      return Number.isNaN(value) ? null : round(value);
    };
    return {
      server: titles[kind],
      requestsPerSecond: of((one) => one.requestsPerSecond),
      share: round(share(kind)),
      cpuMicroseconds: of((one) => one.cpuMicroseconds),
      p99Ms: of((one) => one.p99Ms),
      lowP50Ms: of(({ low }) => low?.p50),
      lowP99Ms: of(({ low }) => low?.p99),
      highP50Ms: of(({ high }) => high?.p50),
      highP99Ms: of(({ high }) => high?.p99),
      loadBusy: of((one) => one.loadBusy),
    };
  });
}

function mainTable(rows: readonly Row[], { low, high }: Rates): Table {
  return {
    title: `A route of Fastify that returns a small object, with ${connections} connections`,
    head: [
      "server",
      "requests/s",
      "share of bare",
      "CPU, µs/request",
      "p99 then, ms",
      `p50 at ${low} requests/s, ms`,
      "p99",
      `p50 at ${high} requests/s, ms`,
      "p99",
      "load's share of a core",
    ],
    lines: rows.map((row) => Object.values(row).map((value) => String(value ?? ""))),
  };
}

/** Where the time goes: what a request costs less without a part, in the same round. */
function partsTable(measured: MeasuredRounds): Table {
  const less = (a: ServerKind, b: ServerKind): string =>
    String(
      round(
        medianOf(
          measured,
          a,
          (one, number) => one.cpuMicroseconds - (measured.get(b)?.[number]?.cpuMicroseconds ?? Number.NaN),
        ),
      ),
    );
  return {
    title: "What the parts cost",
    head: ["part", "CPU, µs/request"],
    lines: [
      ["bare Fastify", String(round(medianOf(measured, "bare", (one) => one.cpuMicroseconds)))],
      ["context, ids and hooks", less("context-only", "bare")],
      ["metrics", less("ours", "without-metrics")],
      ["access line", less("ours", "without-log")],
      ["traces", less("ours", "without-traces")],
      ["all of Ectus-R's", less("ours", "bare")],
      ["all of the usual", less("usual", "bare")],
    ],
  };
}

async function measureAll({
  note,
  signal,
}: BenchContext): Promise<{ measured: MeasuredRounds; rates: Rates }> {
  await using running = new AsyncDisposableStack();
  const load = running.adopt(startHelper("observability-load.ts"), end);
  const receiver = running.adopt(startHelper("observability-receiver.ts"), end);
  const parties: Parties = {
    load,
    receiver,
    tracesEndpoint: `http://127.0.0.1:${await nextMessage<number>(receiver)}`,
  };
  note("how much the slowest and the fastest do");
  const usual = await measureServer(parties, "usual", undefined);
  const bare = await measureServer(parties, "bare", undefined);
  const hundreds = (value: number): number => Math.round(value / 100) * 100;
  const rates: Rates = {
    low: hundreds(usual.requestsPerSecond * lowShare),
    high: hundreds(bare.requestsPerSecond * highShare),
  };
  const measured = new Map<ServerKind, Measured[]>(serverKinds.map((kind) => [kind, []]));
  for (let number = 0; number < rounds; number += 1) {
    note(`round ${number + 1} of ${rounds}`);
    // Each round begins with another server, so that what drifts does not fall on the same one.
    for (let turn = 0; turn < serverKinds.length; turn += 1) {
      signal.throwIfAborted();
      const kind = serverKinds[(number + turn) % serverKinds.length] as ServerKind;
      measured.get(kind)?.push(await measureServer(parties, kind, rates));
    }
  }
  return { measured, rates };
}

interface Parties {
  readonly load: ChildProcess;
  readonly receiver: ChildProcess;
  readonly tracesEndpoint: string;
}

/** Measures the most that a new server does, and how long it takes at rates. */
async function measureServer(
  parties: Parties,
  kind: ServerKind,
  rates: Rates | undefined,
): Promise<Measured> {
  const server = await startServer(parties, kind);
  const { port, metricsPort, pid } = server;
  let answers = 0;
  const run = async (load: Omit<Load, "port">, on?: (state: "measuring" | "measured") => void) => {
    const result = await runLoad(parties.load, { ...load, port }, on);
    answers += result.answers;
    return result;
  };
  try {
    if (metricsPort !== null)
      for (let count = 0; count < warmupScrapes; count += 1) await scrape(metricsPort);
    const scraper = metricsPort === null ? undefined : startScraper(metricsPort);
    await using _ = scraper;
    const cpu: Promise<number | null>[] = [];
    const atMost = await run(most, () => void cpu.push(cpuMs(pid)));
    const [before, after] = await Promise.all(cpu);
    // What the parts cost shows in the CPU time; how long requests take is compared between the three.
    const isWhole = kind === "bare" || kind === "ours" || kind === "usual";
    const low = isWhole && rates !== undefined ? await run({ ...paced, perSecond: rates.low }) : undefined;
    const high =
      isWhole && kind !== "usual" && rates !== undefined
        ? await run({ ...paced, perSecond: rates.high })
        : undefined;
    scraper?.throwIfFailed();
    if (metricsPort !== null)
      checkCount(kind, "requests in metrics", await countedRequests(metricsPort), answers);
    await checkWork(parties, kind, answers, await server.stop());
    return {
      requestsPerSecond: atMost.measured / atMost.seconds,
      cpuMicroseconds: (((after ?? Number.NaN) - (before ?? Number.NaN)) * 1_000) / atMost.measured,
      p99Ms: atMost.p99,
      loadBusy: atMost.busy,
      low,
      high,
    };
  } finally {
    await server.stop();
  }
}

function checkCount(kind: ServerKind, what: string, count: number, other: number, of = "answers"): void {
  if (count !== other) throw new Error(`${titles[kind]}: ${count} ${what}, but ${other} ${of}`);
}

interface Logged {
  readonly lines: number;
  /** Of these, those that have the id of a trace, and those that say that it is kept. */
  readonly joined: number;
  readonly kept: number;
}

function readLog(text: string, isAccessLine: (line: LogLine) => boolean): Logged {
  const lines = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line): LogLine => JSON.parse(line))
    .filter(isAccessLine);
  return {
    lines: lines.length,
    joined: lines.filter((line) => (line.traceId ?? line.trace_id) !== undefined).length,
    kept: lines.filter(({ kept }) => kept !== undefined).length,
  };
}

interface LogLine {
  readonly msg?: string;
  readonly status?: number;
  readonly traceId?: string;
  readonly kept?: string;
  readonly trace_id?: string;
  readonly req?: { readonly url: string };
}

/** Throws unless each answer has its access line, and about the share of traces arrived that chance keeps. */
async function checkWork(
  { receiver }: Parties,
  kind: ServerKind,
  answers: number,
  log: string,
): Promise<void> {
  const got = nextMessage<Received>(receiver);
  receiver.send("take");
  const { traces, spans, names } = await got;
  const done = doneBy[kind];
  const isUsual = isUsualKind(kind);
  // Fastify writes a second line when the request is answered.
  const { lines, joined, kept } = readLog(log, (line) =>
    isUsual ? line.req?.url === path : line.msg === "request" && line.status === 200,
  );
  checkCount(kind, "access lines", lines, done.log ? answers : 0);
  if (done.log && done.traces && kind !== "usual-own-log")
    checkCount(kind, "access lines with the id of a trace", joined, answers);
  if (done.log && done.traces && !isUsual) checkCount(kind, "traces", traces, kept, "lines of kept ones");
  // As many as chance may give, and those of requests that a stall of this machine made slow.
  const expected = done.traces ? answers * sampleRatio : 0;
  const tolerance = 5 * Math.sqrt(expected);
  if (traces < expected - tolerance || traces > expected + tolerance + (done.traces ? 2 * connections : 0))
    throw new Error(`${titles[kind]}: ${traces} traces, but about ${round(expected)} were expected`);
  // The server's span and at least Fastify's, or it would be spared most of the work.
  if (isUsual && (spans < 2 * traces || !names.some((name) => name.includes(route))))
    throw new Error(`${titles[kind]}: ${spans} spans of ${traces} traces, called ${names.join(", ")}`);
}

function isUsualKind(kind: ServerKind): boolean {
  return kind === "usual" || kind === "usual-own-log";
}

async function scrape(port: number): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
}

async function countedRequests(port: number): Promise<number> {
  let count = 0;
  for (const line of (await scrape(port)).split("\n"))
    if (line.startsWith("http_request_duration_seconds_count{") && line.includes(`"${route}"`))
      count += Number(line.slice(line.lastIndexOf(" ")));
  return count;
}

async function runLoad(
  child: ChildProcess,
  load: Load,
  on: (state: "measuring" | "measured") => void = () => {},
): Promise<LoadResult> {
  const { promise, resolve } = Promise.withResolvers<LoadResult>();
  const onMessage = (message: LoadMessage): void => {
    if (message.state === "done") resolve(message.result);
    else on(message.state);
  };
  child.on("message", onMessage);
  try {
    child.send(load);
    return await unlessEnded(child, () => promise);
  } finally {
    child.off("message", onMessage);
  }
}

interface Server extends ServerPorts {
  readonly pid: number;
  /** Returns what it logged. */
  stop(): Promise<string>;
}

async function startServer({ tracesEndpoint }: Parties, kind: ServerKind): Promise<Server> {
  const usual: ForkOptions = {
    execArgv: ["--import", import.meta.resolve("@opentelemetry/auto-instrumentations-node/register")],
    env: {
      ...process.env,
      OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
      OTEL_TRACES_SAMPLER_ARG: String(sampleRatio),
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
      OTEL_EXPORTER_OTLP_ENDPOINT: tracesEndpoint,
      OTEL_METRICS_EXPORTER: "none",
      OTEL_LOGS_EXPORTER: "none",
      // It puts the ids of traces into lines, and reads each line to hand it on, also if nobody is there to take it.
      ...(kind === "usual-own-log" ? { OTEL_NODE_DISABLED_INSTRUMENTATIONS: "pino" } : {}),
      // Others ask a cloud about its machine.
      OTEL_NODE_RESOURCE_DETECTORS: "env,host,os,process",
    },
  };
  const child = fork(join(import.meta.dirname, "observability-server.ts"), [kind, tracesEndpoint], {
    stdio: ["ignore", "pipe", "inherit", "ipc"],
    ...(isUsualKind(kind) ? usual : {}),
  });
  const log: Buffer[] = [];
  child.stdout?.on("data", (bytes: Buffer) => log.push(bytes));
  const closed = once(child, "close");
  const ports = await nextMessage<ServerPorts>(child);
  return {
    ...ports,
    pid: child.pid as number,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      await closed;
      return Buffer.concat(log).toString();
    },
  };
}

function startHelper(file: string): ChildProcess {
  return fork(join(import.meta.dirname, file), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.disconnect();
  await exited;
}

async function nextMessage<T>(child: ChildProcess): Promise<T> {
  const [message] = (await unlessEnded(child, (signal) => once(child, "message", { signal }))) as [T];
  return message;
}

/** Waits for what a process tells; rejects when it ends before, or tells nothing for long. */
async function unlessEnded<T>(child: ChildProcess, wait: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(timeoutMs)]);
  const ended = once(child, "exit", { signal }).then(([code]) => {
    throw new Error(`${child.spawnargs.slice(1).join(" ")} ended with ${code}`);
  });
  try {
    return await Promise.race([wait(signal), ended]);
  } finally {
    ended.catch(() => {});
    over.abort();
  }
}

async function versions(): Promise<Record<string, string>> {
  const found: Record<string, string> = { node: process.versions.node };
  for (const name of [
    "fastify",
    "fastify-metrics",
    "pino",
    "@fastify/otel",
    "@opentelemetry/auto-instrumentations-node",
  ]) {
    const file = join(import.meta.dirname, "..", "node_modules", name, "package.json");
    found[name] = (JSON.parse(await readFile(file, "utf8")) as { version: string }).version;
  }
  return found;
}
