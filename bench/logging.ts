// What a log line costs: pino as it is, pino that redacts by paths, and ours, which looks at every text of every line;
// what a clean line costs to look at; and what a reader that has stopped costs. Each measurement is a process of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { LoggingMeasured, LoggingTask } from "./logging-process.ts";
import { describeMachine } from "./machine.ts";
import { type Bench, median, type Row, round, toAim } from "./report.ts";

const rounds = 3;
const processTimeoutMs = 60_000;

const titles: Readonly<Record<LoggingTask, string>> = {
  pino: "pino, the fields of the context given by hand",
  "pino-redact": "pino with redact paths",
  ours: "Ectus-R",
  "ours-dirty": "Ectus-R, with an e-mail address in the line",
  "ours-written": "Ectus-R, a line that was made for speed (writeLine)",
  scan: "looking through that line, which is clean",
  blocked: "Ectus-R, a reader that has stopped",
};

export const logging: Bench = {
  name: "logging",
  async run({ note, signal }) {
    const machine = await describeMachine();
    const tasks = Object.keys(titles) as LoggingTask[];
    const results = new Map<LoggingTask, LoggingMeasured[]>(tasks.map((task) => [task, []]));
    for (let count = 1; count <= rounds; count += 1) {
      note(`round ${count} of ${rounds}`);
      for (const [task, measured] of results) {
        signal.throwIfAborted();
        measured.push(await measure(task, signal));
      }
    }
    const of = (task: LoggingTask, field: "ns" | "longestMs" | "bytes"): number =>
      median((results.get(task) ?? []).map((measured) => measured[field] ?? Number.NaN));
    const aims = [
      toAim("looking through a clean line, ns", of("scan", "ns"), "at-most", 1_000),
      toAim(
        "a line, times pino's CPU without any redaction",
        of("ours", "ns") / of("pino", "ns"),
        "at-most",
        2,
      ),
      toAim(
        "a line, times the CPU of pino with redact paths",
        of("ours", "ns") / of("pino-redact", "ns"),
        "at-most",
        1,
      ),
      toAim(
        "a line while the reader has stopped, times a line otherwise",
        of("blocked", "ns") / of("ours", "ns"),
        "at-most",
        1.5,
      ),
      toAim(
        "longest turn of the event loop while the reader has stopped, ms",
        of("blocked", "longestMs"),
        "at-most",
        50,
      ),
    ];
    const rows: Row[] = tasks.map((task) => ({
      task,
      ns: round(of(task, "ns")),
      bytes: round(of(task, "bytes")),
    }));
    const tables = [
      {
        title: "One line with 8 fields in the context of a request, CPU",
        head: ["logger", "ns", "characters"],
        lines: tasks.map((task) => [
          titles[task],
          String(round(of(task, "ns"))),
          String(round(of(task, "bytes"))),
        ]),
      },
    ];
    return { report: { machine, versions: await versions(), rows, aims }, tables };
  },
};

/** Its lines go to a pipe, which is read unless the reader is to have stopped; what it measured comes by another. */
async function measure(task: LoggingTask, signal: AbortSignal): Promise<LoggingMeasured> {
  const program = join(import.meta.dirname, "logging-process.ts");
  const child = spawn(process.execPath, [program, task], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: processTimeoutMs,
    signal,
  });
  if (task === "blocked") child.stdout.pause();
  else child.stdout.resume();
  let told = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    told += text;
  });
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`${task} ended with ${code}:\n${told}`);
  return JSON.parse(told) as LoggingMeasured;
}

async function versions(): Promise<Record<string, string>> {
  const file = join(import.meta.dirname, "..", "node_modules", "pino", "package.json");
  const { version } = JSON.parse(await readFile(file, "utf8")) as { version: string };
  return { node: process.versions.node, pino: version };
}
