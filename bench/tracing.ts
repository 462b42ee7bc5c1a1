// What traces cost: recording a request whose trace is dropped, beside OpenTelemetry's SDK; and exporting one that is
// kept. Each measurement is a process of its own; they take turns; medians of rounds.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describeMachine } from "./machine.ts";
import { type Bench, type BenchContext, median, type Row, round, type Table, toAim } from "./report.ts";
import { type MeasuredExport, type MeasuredRecording, type Recorder, recorders } from "./tracing-measured.ts";

const run = promisify(execFile);
const rounds = 5;
const processTimeoutMs = 120_000;

const titles: Readonly<Record<Recorder, string>> = { ours: "Ectus-R", opentelemetry: "OpenTelemetry's SDK" };

export const tracing: Bench = {
  name: "tracing",
  async run({ note, signal }) {
    const machine = await describeMachine();
    const recordings: Record<Recorder, MeasuredRecording[]> = { ours: [], opentelemetry: [] };
    const exports: MeasuredExport[] = [];
    for (let count = 1; count <= rounds; count += 1) {
      note(`round ${count} of ${rounds}`);
      for (const recorder of recorders)
        recordings[recorder].push(await measure<MeasuredRecording>(["record", recorder], signal));
      exports.push(await measure<MeasuredExport>(["export"], signal));
    }

    const cost = (recorder: Recorder, spans: "one" | "four", field: "ns" | "bytes"): number =>
      median(recordings[recorder].map((measured) => measured[spans][field]));
    const leaner = (spans: "one" | "four", field: "ns" | "bytes"): number =>
      cost("opentelemetry", spans, field) / cost("ours", spans, field);
    const longest = (field: "stallMs" | "longStallMs"): number => median(exports.map((one) => one[field]));
    const usPerSpan = median(exports.map((one) => one.usPerSpan));

    const aims = [
      toAim("dropped trace of one span, times less CPU than the SDK", leaner("one", "ns"), "at-least", 5),
      toAim("dropped trace of four spans, times less CPU than the SDK", leaner("four", "ns"), "at-least", 5),
      toAim("longest turn of the event loop in an export, ms", longest("stallMs"), "at-most", 5),
      toAim("the same with attributes as long as they may be, ms", longest("longStallMs"), "at-most", 5),
    ];
    const rows: Row[] = [
      ...recorders.map((recorder) => ({
        task: "record",
        recorder: titles[recorder],
        oneSpanNs: round(cost(recorder, "one", "ns")),
        fourSpansNs: round(cost(recorder, "four", "ns")),
        oneSpanBytes: round(cost(recorder, "one", "bytes")),
        fourSpansBytes: round(cost(recorder, "four", "bytes")),
      })),
      {
        task: "export",
        usPerSpan: round(usPerSpan),
        longestStallMs: round(longest("stallMs")),
        longestStallLongAttributesMs: round(longest("longStallMs")),
      },
    ];
    const tables: Table[] = [
      {
        title: "A request whose trace is dropped",
        head: ["recorder", "1 span, ns of CPU", "4 spans, ns of CPU", "1 span, bytes", "4 spans, bytes"],
        lines: recorders.map((recorder) => [
          titles[recorder],
          ...(["ns", "bytes"] as const).flatMap((field) =>
            (["one", "four"] as const).map((spans) => String(round(cost(recorder, spans, field)))),
          ),
        ]),
      },
      {
        title: "A span that is kept, recorded, serialized and sent",
        head: ["CPU, µs", "longest turn of the event loop, ms", "the same, with attributes of 64 KB"],
        lines: [[usPerSpan, longest("stallMs"), longest("longStallMs")].map((value) => String(round(value)))],
      },
    ];
    return { report: { machine, versions: await versions(), rows, aims }, tables };
  },
};

async function measure<Measured>(args: readonly string[], signal: BenchContext["signal"]): Promise<Measured> {
  const program = join(import.meta.dirname, "tracing-process.ts");
  const { stdout } = await run(process.execPath, ["--expose-gc", program, ...args], {
    timeout: processTimeoutMs,
    signal,
  });
  return JSON.parse(stdout) as Measured;
}

async function versions(): Promise<Record<string, string>> {
  const found: Record<string, string> = { node: process.versions.node };
  for (const name of ["@opentelemetry/sdk-trace", "@opentelemetry/otlp-transformer"]) {
    const file = join(import.meta.dirname, "..", "node_modules", name, "package.json");
    found[name] = (JSON.parse(await readFile(file, "utf8")) as { version: string }).version;
  }
  return found;
}
