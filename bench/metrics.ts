// What a metric costs: our client beside the official one, its predecessor and OpenTelemetry's Prometheus exporter with
// its reader attached. Each measurement is a process of its own; the clients take turns; medians of rounds.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describeMachine } from "./machine.ts";
import { type Measured, type UpdateName, updateNames } from "./metrics-measured.ts";
import { type SubjectName, subjectNames } from "./metrics-subjects.ts";
import { type Bench, type BenchContext, median, type Row, round, type Table, toAim } from "./report.ts";

const run = promisify(execFile);
const rounds = 5;
const processTimeoutMs = 120_000;

const titles: Readonly<Record<SubjectName, string>> = {
  ours: "Ectus-R",
  official: "@prometheus-io/client",
  "prom-client": "prom-client",
  opentelemetry: "OpenTelemetry",
};

/** What a process is told, and the name of the row that its result is. */
interface Task {
  readonly subject: SubjectName;
  readonly title: string;
  readonly args: readonly [Measured["task"], ...string[]];
}

const scrapes: readonly Task[] = [
  ...subjectNames.map((subject) => ({
    subject,
    title: `${titles[subject]}, text`,
    args: ["scrape", "text"] as const,
  })),
  { subject: "ours", title: `${titles.ours}, OpenMetrics`, args: ["scrape", "openmetrics"] },
  { subject: "ours", title: `${titles.ours}, protobuf`, args: ["scrape", "protobuf"] },
  {
    subject: "ours",
    title: `${titles.ours}, protobuf with native histograms, too`,
    args: ["scrape", "protobuf", "native"],
  },
];

const tasks: readonly Task[] = [
  ...subjectNames.map((subject) => ({ subject, title: titles[subject], args: ["update"] as const })),
  ...scrapes,
  ...subjectNames.map((subject) => ({ subject, title: titles[subject], args: ["memory"] as const })),
];

type Of<T extends Measured["task"]> = Extract<Measured, { task: T }>;
type Results = ReadonlyMap<Task, readonly Measured[]>;

export const metrics: Bench = {
  name: "metrics",
  async run(context) {
    const machine = await describeMachine();
    const results = await measureAll(context);
    const updates = byTitle(results, "update");
    const scraped = byTitle(results, "scrape");
    const memory = byTitle(results, "memory");
    const ns = (title: string, update: UpdateName): number =>
      median((updates.get(title) ?? []).map((measured) => measured.ns[update] ?? Number.NaN));
    const ofScrape = (title: string, field: "cpuMs" | "wallMs" | "bytes"): number =>
      median((scraped.get(title) ?? []).map((measured) => measured[field]));
    const stall = (title: string): number =>
      Math.max(...(scraped.get(title) ?? []).map(({ stallMs }) => stallMs));
    const bytes = (title: string, field: "bytesPerCounter" | "bytesPerHistogram"): number =>
      median((memory.get(title) ?? []).map((measured) => measured[field]));

    const { ours, official } = titles;
    const [ourText, officialText] = [`${ours}, text`, `${official}, text`];
    const faster = (update: UpdateName): number => ns(official, update) / ns(ours, update);
    const aims = [
      toAim("observe with labels, times the official client's speed", faster("observe"), "at-least", 6),
      toAim(
        "observe of a kept child, times the official client's speed",
        faster("keptObserve"),
        "at-least",
        8,
      ),
      toAim(
        "scrape, times the official client's speed (CPU)",
        ofScrape(officialText, "cpuMs") / ofScrape(ourText, "cpuMs"),
        "at-least",
        4,
      ),
      toAim(
        "longest stall of a scrape in any format, ms",
        Math.max(...scrapes.filter(({ subject }) => subject === "ours").map(({ title }) => stall(title))),
        "at-most",
        5,
      ),
      toAim(
        "scrape in protobuf, times the CPU of text",
        ofScrape(`${ours}, protobuf`, "cpuMs") / ofScrape(ourText, "cpuMs"),
        "at-most",
        1,
      ),
      toAim(
        "memory of a counter's series, share of the official client's",
        bytes(ours, "bytesPerCounter") / bytes(official, "bytesPerCounter"),
        "at-most",
        0.5,
      ),
      toAim(
        "memory of a histogram's series, share of the official client's",
        bytes(ours, "bytesPerHistogram") / bytes(official, "bytesPerHistogram"),
        "at-most",
        0.5,
      ),
    ];

    const rows: Row[] = [
      ...[...updates.keys()].map((client) => ({
        task: "update",
        client,
        ...Object.fromEntries(updateNames.map((update) => [`${update}Ns`, orNull(ns(client, update))])),
      })),
      ...[...scraped.keys()].map((client) => ({
        task: "scrape",
        client,
        cpuMs: round(ofScrape(client, "cpuMs")),
        wallMs: round(ofScrape(client, "wallMs")),
        longestStallMs: round(stall(client)),
        bytes: ofScrape(client, "bytes"),
      })),
      ...[...memory.keys()].map((client) => ({
        task: "memory",
        client,
        bytesPerCounter: round(bytes(client, "bytesPerCounter")),
        bytesPerHistogram: round(bytes(client, "bytesPerHistogram")),
      })),
    ];
    const tables: Table[] = [
      {
        title: "One update over 1,000 series with three labels, ns of CPU",
        head: ["client", "observe", "observe, kept child", "inc", "inc, kept child"],
        lines: [...updates.keys()].map((client) => [
          client,
          ...updateNames.map((update) => shown(ns(client, update))),
        ]),
      },
      {
        title: "A scrape of 3,000 histograms with 11 buckets and 1,000 counters",
        head: ["client", "CPU, ms", "wall, ms", "longest stall, ms", "size, MB"],
        lines: [...scraped.keys()].map((client) => [
          client,
          shown(ofScrape(client, "cpuMs")),
          shown(ofScrape(client, "wallMs")),
          shown(stall(client)),
          shown(ofScrape(client, "bytes") / 1e6),
        ]),
      },
      {
        title: "Memory of a series with three labels after a scrape, bytes",
        head: ["client", "counter", "histogram with 11 buckets"],
        lines: [...memory.keys()].map((client) => [
          client,
          shown(bytes(client, "bytesPerCounter")),
          shown(bytes(client, "bytesPerHistogram")),
        ]),
      },
    ];
    return { report: { machine, versions: await versions(), rows, aims }, tables };
  },
};

/** All tasks, in rounds, so that a machine that is slow for a while is slow for all. */
async function measureAll({ note, signal }: BenchContext): Promise<Results> {
  const results = new Map<Task, Measured[]>(tasks.map((task) => [task, []]));
  for (let count = 1; count <= rounds; count += 1) {
    note(`round ${count} of ${rounds}`);
    for (const [task, measured] of results) {
      signal.throwIfAborted();
      measured.push(await measure(task, signal));
    }
  }
  return results;
}

async function measure({ subject, args }: Task, signal: AbortSignal): Promise<Measured> {
  const program = join(import.meta.dirname, "metrics-process.ts");
  const { stdout } = await run(process.execPath, ["--expose-gc", program, subject, ...args], {
    timeout: processTimeoutMs,
    signal,
  });
  return JSON.parse(stdout) as Measured;
}

function byTitle<T extends Measured["task"]>(
  results: Results,
  task: T,
): ReadonlyMap<string, readonly Of<T>[]> {
  return new Map(
    [...results]
      .filter(([{ args }]) => args[0] === task)
      .map(([{ title }, measured]) => [title, measured as readonly Of<T>[]]),
  );
}

const orNull = (value: number): number | null => (Number.isNaN(value) ? null : round(value));
const shown = (value: number): string => (Number.isNaN(value) ? "" : String(round(value)));

async function versions(): Promise<Record<string, string>> {
  const names = [
    "@prometheus-io/client",
    "prom-client",
    "@opentelemetry/exporter-prometheus",
    "@opentelemetry/sdk-metrics",
  ];
  const found: Record<string, string> = { node: process.versions.node };
  for (const name of names) {
    const file = join(import.meta.dirname, "..", "node_modules", name, "package.json");
    found[name] = (JSON.parse(await readFile(file, "utf8")) as { version: string }).version;
  }
  return found;
}
