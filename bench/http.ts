// What our HTTP metrics cost a server: bare Fastify, Fastify with our middleware and a scraper, and Fastify with
// fastify-metrics and a scraper; the same load on each in turn, medians of rounds. Each round has servers of its own: how
// the compiler takes a program differs by some percent from one start to the next.
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ServerKind, type ServerPorts, serverKinds } from "./http-kinds.ts";
import type { LoadJob } from "./load-client.ts";
import { describeMachine } from "./machine.ts";
import { cpuMs } from "./proc.ts";
import { type LoadClient, startLoadClient } from "./processes.ts";
import { type Bench, type BenchContext, median, type Row, round, type Table, toAim } from "./report.ts";

const rounds = 9;
const load = { connections: 32, warmup: 30_000, count: 200_000, maxMs: 4_000 } as const;
// Ten times as often as Prometheus by default, so that each round has some.
const scrapeEveryMs = 1_500;
// A server that is scraped has been scraped before: the first scrapes are slow, since nothing is compiled.
const warmupScrapes = 30;
const startTimeoutMs = 20_000;

const titles: Readonly<Record<ServerKind, string>> = {
  bare: "bare Fastify",
  ours: "with Ectus-R's metrics",
  "fastify-metrics": "with fastify-metrics",
};

interface Server extends ServerPorts {
  readonly kind: ServerKind;
  readonly pid: number;
  stop(): Promise<void>;
}

interface Measured {
  readonly requestsPerSecond: number;
  readonly cpuMicroseconds: number | null;
  readonly p99Ms: number;
}

export const http: Bench = {
  name: "http",
  async run(context) {
    const machine = await describeMachine();
    const measured = await measureAll(context);
    const of = (kind: ServerKind, field: keyof Measured): number =>
      median((measured.get(kind) ?? []).map((one) => one[field] ?? Number.NaN));
    // Within each round, then the median.
    const share = (kind: ServerKind): number =>
      median(
        (measured.get(kind) ?? []).map(
          ({ requestsPerSecond }, number) =>
            requestsPerSecond / (measured.get("bare")?.[number]?.requestsPerSecond ?? Number.NaN),
        ),
      );
    const rows: Row[] = serverKinds.map((kind) => ({
      server: titles[kind],
      requestsPerSecond: round(of(kind, "requestsPerSecond")),
      share: round(share(kind)),
      cpuMicroseconds: round(of(kind, "cpuMicroseconds")),
      p99Ms: round(of(kind, "p99Ms")),
    }));
    const table: Table = {
      title: `A route of Fastify with ${load.connections} connections, scraped every ${scrapeEveryMs / 1_000} s`,
      head: ["server", "requests/s", "share of bare", "CPU, µs/request", "p99, ms"],
      lines: rows.map((row) => Object.values(row).map(String)),
    };
    const aims = [
      toAim("requests/s with our metrics, share of bare Fastify's", share("ours"), "at-least", 0.9),
    ];
    return { report: { machine, versions: await versions(), rows, aims }, tables: [table] };
  },
};

async function measureAll({ note, signal }: BenchContext): Promise<Map<ServerKind, Measured[]>> {
  await using running = new AsyncDisposableStack();
  const client = startLoadClient();
  running.defer(() => client.stop());
  const measured = new Map<ServerKind, Measured[]>(serverKinds.map((kind) => [kind, []]));
  for (let number = 1; number <= rounds; number += 1) {
    note(`round ${number} of ${rounds}`);
    for (const kind of serverKinds) {
      signal.throwIfAborted();
      const server = await startServer(kind);
      try {
        measured.get(kind)?.push(await measure(client, server));
      } finally {
        await server.stop();
      }
    }
  }
  return measured;
}

async function measure(client: LoadClient, { port, metricsPort, pid }: Server): Promise<Measured> {
  const request = `GET /v1/items/17 HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer none\r\n\r\n`;
  const job: LoadJob = { ...load, port, requests: [request] };
  let cpuBefore: Promise<number | null> | undefined;
  if (metricsPort !== null) for (let count = 0; count < warmupScrapes; count += 1) await scrape(metricsPort);
  await using scraper = metricsPort === null ? undefined : startScraper(metricsPort);
  const result = await client.run(job, {
    measuring: () => {
      cpuBefore = cpuMs(pid);
    },
  });
  const [before = null, after] = await Promise.all([cpuBefore, cpuMs(pid)]);
  scraper?.throwIfFailed();
  return {
    requestsPerSecond: result.requests / result.seconds,
    cpuMicroseconds: before === null || after === null ? null : ((after - before) * 1_000) / result.requests,
    p99Ms: result.latency.p99,
  };
}

/** Scrapes again and again, one after the other. */
export function startScraper(port: number): AsyncDisposable & { throwIfFailed(): void } {
  let failure: unknown;
  let scraping: Promise<void> = Promise.resolve();
  const next = (): void => {
    scraping = scraping
      .then(() => scrape(port))
      .catch((error: unknown) => {
        failure ??= error;
      });
  };
  const timer = setInterval(next, scrapeEveryMs);
  next();
  return {
    throwIfFailed() {
      if (failure !== undefined) throw failure;
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await scraping;
    },
  };
}

async function scrape(port: number): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
  const text = await answer.text();
  if (!text.includes("http_request_duration_seconds"))
    throw new Error(`a scrape gave: ${text.slice(0, 200)}`);
}

async function startServer(kind: ServerKind): Promise<Server> {
  const child = fork(join(import.meta.dirname, "http-server.ts"), [kind], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const exited = once(child, "exit");
  const failed = exited.then(([code]) => {
    throw new Error(`the server ${kind} ended with ${code}`);
  });
  failed.catch(() => {});
  const [ports] = (await Promise.race([
    once(child, "message", { signal: AbortSignal.timeout(startTimeoutMs) }),
    failed,
  ])) as [ServerPorts];
  return {
    ...ports,
    kind,
    pid: child.pid ?? 0,
    async stop() {
      child.disconnect();
      await exited;
    },
  };
}

async function versions(): Promise<Record<string, string>> {
  const found: Record<string, string> = { node: process.versions.node };
  for (const name of ["fastify", "fastify-metrics", "@prometheus-io/client"]) {
    const file = join(import.meta.dirname, "..", "node_modules", name, "package.json");
    found[name] = (JSON.parse(await readFile(file, "utf8")) as { version: string }).version;
  }
  return found;
}
