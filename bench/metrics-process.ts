// One client in a process of its own: does what it is told on the command line, prints what it measured as JSON.
// Started by bench/metrics.ts with --expose-gc.
import { type Measured, type UpdateName, updateNames } from "./metrics-measured.ts";
import { createSubject, type Labels, type ScrapeFormat, type SubjectName } from "./metrics-subjects.ts";

const seriesOfUpdates = 1_000;
const updates = 1_000_000;
const histograms = 3_000;
const counters = 1_000;
// A server that is scraped has been scraped before: its code is compiled after a few minutes.
const warmupScrapes = 20;
const scrapes = 15;
const seriesOfMemory = 20_000;

const [name, task, format = "text", native = ""] = process.argv.slice(2) as [
  SubjectName,
  Measured["task"],
  ScrapeFormat?,
  string?,
];
function run(): Promise<Measured> {
  switch (task) {
    case "update":
      return measureUpdates();
    case "scrape":
      return measureScrape();
    case "memory":
      return measureMemory();
  }
}

/** Label sets as requests have them: 5 methods, 8 status codes, the rest paths. */
function labelSets(count: number): Labels[] {
  return Array.from({ length: count }, (_, index) => ({
    method: ["GET", "POST", "PUT", "PATCH", "DELETE"][index % 5] as string,
    status: String(200 + (Math.floor(index / 5) % 8)),
    path: `/items/${Math.floor(index / 40)}`,
  }));
}

// From 1 ms to 12 s, so that every bucket has values.
const values = Float64Array.from({ length: 1_024 }, (_, index) => 0.001 * 1.0092 ** index);

function cpuNs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1_000) / updates;
}

async function measureUpdates(): Promise<Measured> {
  const subject = await createSubject(name);
  const sets = labelSets(seriesOfUpdates);
  const histogram = subject.histogram("bench_duration_seconds");
  const counter = subject.counter("bench_requests_total");
  const observers = sets.map((labels) => histogram.kept(labels));
  const increasers = sets.map((labels) => counter.kept(labels));
  // A prime step visits all sets in an order that no cache expects.
  const loop = (work: (set: number, value: number) => void) => () => {
    for (let count = 0, set = 0; count < updates; count += 1, set = (set + 379) % seriesOfUpdates)
      work(set, values[count & 1_023] as number);
  };
  const works: Record<UpdateName, (() => void) | undefined> = {
    observe: loop((set, value) => histogram.observe(sets[set] as Labels, value)),
    keptObserve: observers[0] && loop((set, value) => observers[set]?.(value)),
    inc: loop((set) => counter.inc(sets[set] as Labels)),
    keptInc: increasers[0] && loop((set) => increasers[set]?.()),
  };
  const ns = Object.fromEntries(
    updateNames.map((update) => {
      const work = works[update];
      if (work === undefined) return [update, null];
      work();
      return [update, cpuNs(work)];
    }),
  ) as Record<UpdateName, number | null>;
  return { task: "update", ns };
}

async function measureScrape(): Promise<Measured> {
  const subject = await createSubject(name, native === "native");
  const histogram = subject.histogram("request_seconds");
  const counter = subject.counter("requests_total");
  const sets = labelSets(histograms);
  let value = 0;
  const change = (): void => {
    for (const [index, labels] of sets.entries()) {
      for (let count = 0; count < 4; count += 1) {
        value = (value + 7) % values.length;
        histogram.observe(labels, values[value] as number);
      }
      if (index < counters) counter.inc(labels);
    }
  };
  for (let count = 0; count < warmupScrapes; count += 1) {
    change();
    await subject.scrape(format);
  }
  const rounds: { cpuMs: number; wallMs: number; stallMs: number; bytes: number }[] = [];
  for (let round = 0; round < scrapes; round += 1) {
    // Numbers that have changed since the last scrape, as they have in a server.
    change();
    rounds.push(await watched(() => subject.scrape(format)));
  }
  const median = (field: "cpuMs" | "wallMs" | "bytes"): number =>
    rounds.map((round) => round[field]).sort((a, b) => a - b)[scrapes >> 1] as number;
  return {
    task: "scrape",
    cpuMs: median("cpuMs"),
    wallMs: median("wallMs"),
    // The worst of all rounds.
    stallMs: Math.max(...rounds.map(({ stallMs }) => stallMs)),
    bytes: median("bytes"),
  };
}

/** Measures a scrape, and for how long it kept the event loop from turning. */
async function watched(
  scrape: () => Promise<number>,
): Promise<{ cpuMs: number; wallMs: number; stallMs: number; bytes: number }> {
  let stallMs = 0;
  let last = performance.now();
  let over = false;
  const turn = (): void => {
    const now = performance.now();
    stallMs = Math.max(stallMs, now - last);
    last = now;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  const before = process.cpuUsage();
  const startedAt = performance.now();
  const bytes = await scrape();
  const wallMs = performance.now() - startedAt;
  const { user, system } = process.cpuUsage(before);
  stallMs = Math.max(stallMs, performance.now() - last);
  over = true;
  return { cpuMs: (user + system) / 1_000, wallMs, stallMs, bytes };
}

async function measureMemory(): Promise<Measured> {
  const sets = labelSets(seriesOfMemory);
  const used = (): number => {
    globalThis.gc?.();
    globalThis.gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const subject = await createSubject(name);
  const warm = subject.counter("warm_total");
  for (const labels of labelSets(100)) warm.inc(labels);
  await subject.scrape("text");
  const empty = used();
  // A label set is an object of its own in each request.
  const counter = subject.counter("bench_requests_total");
  for (const labels of sets) counter.inc({ ...labels });
  await subject.scrape("text");
  const withCounters = used();
  const histogram = subject.histogram("bench_duration_seconds");
  for (const labels of sets) histogram.observe({ ...labels }, 0.1);
  await subject.scrape("text");
  const withHistograms = used();
  // What must not be collected before it was measured.
  if (sets.length + (await subject.scrape("text")) === 0) throw new Error("nothing was measured");
  return {
    task: "memory",
    bytesPerCounter: (withCounters - empty) / seriesOfMemory,
    bytesPerHistogram: (withHistograms - withCounters) / seriesOfMemory,
  };
}

process.stdout.write(JSON.stringify(await run()));
