// What is exposed is read with Prometheus's own parsers: promtool gives back each label set that the OpenMetrics
// parser found, and the parser of the text formats must find as many series as there are.
import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { promisify } from "node:util";
import { peer } from "@ectus/peers";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Counter } from "../counter.ts";
import { Gauge } from "../gauge.ts";
import { Histogram } from "../histogram.ts";
import { Registry } from "../registry.ts";
import { scrape } from "../scrape.ts";
import { negotiate } from "./negotiation.ts";

const programs = await peer("prometheus");
const run = promisify(execFile);

async function exposed(registry: Registry, accept: string): Promise<string> {
  let all = "";
  for await (const chunk of scrape(registry, { format: negotiate(accept) }))
    all += Buffer.from(chunk).toString();
  return all;
}

type LabelSet = Readonly<Record<string, string>>;

/** Label sets of all series, as Prometheus would store them. It imports only what has a time. */
async function storedLabels(openMetrics: string): Promise<LabelSet[]> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-exposed-"));
  try {
    const file = join(folder, "exposed.txt");
    const blocks = join(folder, "blocks");
    await writeFile(file, openMetrics.split("\n").map(withTime).join("\n"));
    const { promtool } = (programs as NonNullable<typeof programs>).files;
    await run(promtool, ["tsdb", "create-blocks-from", "openmetrics", file, blocks]);
    await mkdir(join(blocks, "wal"));
    const { stdout } = await run(promtool, ["tsdb", "dump", "--format=seriesjson", blocks], {
      maxBuffer: 100_000_000,
    });
    return stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as LabelSet);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** An exemplar follows the time. No label value here contains " # {". */
function withTime(line: string): string {
  if (line === "" || line.startsWith("# ")) return line;
  const [sample = "", ...exemplar] = line.split(" # {");
  return [`${sample} 1700000000`, ...exemplar].join(" # {");
}

/** How many series of each metric the parser of text 0.0.4 finds. */
async function countSeries(exposition: string): Promise<Map<string, number>> {
  const { promtool } = (programs as NonNullable<typeof programs>).files;
  const check = spawn(promtool, ["check", "metrics", "--extended"]);
  check.stdin.end(exposition);
  const [output, complaints] = await Promise.all([textOf(check.stdout), textOf(check.stderr)]);
  expect(complaints).not.toContain("error");
  return new Map(
    [...output.matchAll(/^(\S+)\s+(\d+)\s/gm)].map(([, name, count]) => [name as string, Number(count)]),
  );
}

const anyText = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'\\"\n\r\t{}=, #né花😱\u0000\u2028') }),
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
);

/** Many cases at once: a program is started for each call. */
const labelSets = fc.sample(fc.tuple(anyText, anyText), 2000);
const helps = fc.sample(anyText, 500).filter((help) => help !== "");

/** What no UTF-8 can say is replaced; what is empty is no label. */
function stored(name: string, labels: LabelSet): LabelSet {
  const kept = Object.entries(labels).filter(([, value]) => value !== "");
  return {
    __name__: name,
    ...Object.fromEntries(kept.map(([label, value]) => [label, value.toWellFormed()])),
  };
}

const keyOf = (labels: LabelSet) =>
  JSON.stringify(Object.entries(labels).toSorted(([one], [other]) => (one < other ? -1 : 1)));
const keysOf = (sets: readonly LabelSet[]) => [...new Set(sets.map(keyOf))].toSorted();

describe.skipIf(programs === undefined)("read by promtool", () => {
  test("any label values come back as they were", async () => {
    const registry = new Registry();
    const gauge = new Gauge({
      name: "g",
      help: "G.",
      labelNames: ["a", "b"],
      maxSeries: 5000,
      registers: [registry],
    });
    const expected: LabelSet[] = [];
    for (const [a, b] of labelSets) {
      if (a.includes(" # {") || b.includes(" # {")) continue;
      gauge.set({ a: a.toWellFormed(), b: b.toWellFormed() }, 1.5);
      expected.push(stored("g", { a, b }));
    }
    const openMetrics = await exposed(registry, "application/openmetrics-text");
    expect(keysOf(await storedLabels(openMetrics))).toEqual(keysOf(expected));

    const text = await exposed(registry, "text/plain");
    expect((await countSeries(text)).get("g")).toBe(keysOf(expected).length);
    // The lines of series are the same, so what the one parser found holds for the other.
    const lines = (exposition: string) =>
      exposition.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    expect(lines(text)).toEqual(lines(openMetrics));
  });

  test("any help text is taken for help", async () => {
    const registry = new Registry();
    for (const [index, help] of helps.entries())
      new Counter({ name: `c${index}_total`, help, registers: [registry] }).inc();
    const found = keysOf(await storedLabels(await exposed(registry, "application/openmetrics-text")));
    expect(found).toEqual(keysOf(helps.map((_, index) => stored(`c${index}_total`, {}))));
    const counted = await countSeries(await exposed(registry, "text/plain"));
    counted.delete("Total");
    expect([...counted.values()]).toEqual(helps.map(() => 1));
  });

  test("any names come back as they were where UTF-8 is allowed", async () => {
    const names = [...new Set(fc.sample(anyText, 300).map((name) => name.toWellFormed()))]
      .filter((name) => name !== "" && !name.startsWith("__") && !name.includes(" # {"))
      // Prometheus 3.16 cannot read this one character in a quoted name, though it can in a value.
      .filter((name) => !name.includes("\u0000"));
    const registry = new Registry();
    const expected: LabelSet[] = [];
    for (const [index, name] of names.entries()) {
      const label = names[(index * 7 + 3) % names.length] as string;
      new Gauge({ name: `m.${name}`, help: "G.", labelNames: [label], registers: [registry] }).set(
        { [label]: "x" },
        1,
      );
      expected.push(stored(`m.${name}`, { [label]: "x" }));
    }
    const openMetrics = await exposed(registry, "application/openmetrics-text;escaping=allow-utf-8");
    expect(keysOf(await storedLabels(openMetrics))).toEqual(keysOf(expected));
  });

  test("units, exemplars and histograms are valid in every escaping", async () => {
    const registry = new Registry();
    registry.setDefaultLabels({ "app.name": "shop" });
    for (const separator of [".", "_"]) {
      const histogram = new Histogram({
        name: ["load", "duration", "seconds"].join(separator),
        help: "H.",
        unit: "seconds",
        labelNames: ["a.b", "a_b"],
        buckets: [0.1, 1, 1e6],
        enableExemplars: true,
        registers: [registry],
      });
      histogram.observe({
        labels: { "a.b": "1", a_b: "2" },
        value: 0.5,
        exemplarLabels: { trace_id: "t", "x.y": "z" },
      });
      new Counter({
        name: `${["load", "cpu", "seconds"].join(separator)}_total`,
        help: "C.",
        unit: "seconds",
        enableExemplars: true,
        registers: [registry],
      }).inc({ value: 2, exemplarLabels: { trace_id: "t" } });
    }
    for (const escaping of ["allow-utf-8", "values", "dots"]) {
      const found = await storedLabels(
        await exposed(registry, `application/openmetrics-text;escaping=${escaping}`),
      );
      // Four buckets, a sum and a count, and a counter, of both.
      expect(found, escaping).toHaveLength(14);
      expect(found.filter(({ le }) => le !== undefined).map(({ le }) => le)).toEqual(
        expect.arrayContaining(["0.1", "1.0", "1e+06", "+Inf"]),
      );
    }
  });
});
