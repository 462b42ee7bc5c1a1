// The labels that are derived are those that a real Prometheus answers with, over series that it scraped.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { CatalogueEntry } from "@ectus/monitoring";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Prometheus, startPrometheus } from "../../../../tests/monitoring/start-prometheus.ts";
import { parseExpression } from "../promql.ts";
import { parseRuleFile, type RecordingRule } from "../rule-files.ts";
import { type KnownSeries, knownSeries } from "./known-series.ts";
import { labelsOfResult } from "./result-labels.ts";

const open = { about: "anything", atMost: 10 };

function gauge(labels: CatalogueEntry["labels"]): CatalogueEntry {
  return { type: "gauge", help: "", labels, usedBy: [] };
}

const catalogue: Readonly<Record<string, CatalogueEntry>> = {
  wide: gauge({ a: { values: ["one", "two"] }, b: open }),
  same: gauge({ a: { values: ["one", "two"] }, b: open }),
  narrow: gauge({ a: { values: ["one", "two"] } }),
  other: gauge({ c: open }),
  thing_info: gauge({ version: open }),
  took_seconds: {
    type: "histogram",
    help: "",
    labels: { a: open },
    usedBy: [],
    buckets: [0.00002, 0.0001, 0.25, 1, 100_000, 1_048_576, 2_000_000],
    bucketsWhy: "",
    native: false,
  },
};

const exposed = `wide{a="one",b="x"} 1
wide{a="two",b="y"} 2
same{a="one",b="x"} 1
same{a="two",b="y"} 2
narrow{a="one"} 1
narrow{a="two"} 2
other{c="z"} 1
# TYPE took_seconds histogram
took_seconds_bucket{a="one",le="0.00002"} 1
took_seconds_bucket{a="one",le="0.0001"} 1
took_seconds_bucket{a="one",le="0.25"} 1
took_seconds_bucket{a="one",le="1"} 1
took_seconds_bucket{a="one",le="100000"} 2
took_seconds_bucket{a="one",le="1048576"} 2
took_seconds_bucket{a="one",le="2000000"} 2
took_seconds_bucket{a="one",le="+Inf"} 2
took_seconds_count{a="one"} 2
took_seconds_sum{a="one"} 3
`;

const sources = {
  catalogue,
  externalSeries: {},
  syntheticSeries: [],
  targetLabels: { job: { values: ["ectus"] }, instance: open },
};

function known(rules = ""): KnownSeries {
  const { file } = parseRuleFile("rules.yaml", `groups:\n  - name: g\n    rules:\n${rules}`);
  const recordings = file.groups.flatMap((group) =>
    group.rules.filter((rule): rule is RecordingRule => rule.kind === "record"),
  );
  return knownSeries(sources, recordings);
}

function derived(text: string, series = known()) {
  const { shape, problems } = labelsOfResult(parseExpression(text), series);
  return {
    labels: [...shape.labels.keys()].sort(),
    sure: [...shape.sure].sort(),
    problems: problems.map(({ message }) => message),
  };
}

const programs = await peer("prometheus");

describe.skipIf(!programs)("a real Prometheus", () => {
  let server: Server;
  let prometheus: Prometheus;
  beforeAll(async () => {
    server = createServer((_, response) =>
      response.setHeader("content-type", "text/plain; version=0.0.4").end(exposed),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    prometheus = await startPrometheus({
      program: programs?.files.prometheus ?? "",
      config: {
        global: { scrape_interval: "200ms" },
        scrape_configs: [{ job_name: "ectus", static_configs: [{ targets: [target] }] }],
      },
    });
    await prometheus.scraped();
    await prometheus.scraped();
  });
  afterAll(async () => {
    await prometheus.stop();
    server.close();
  });

  test.each([
    "wide",
    'wide{a="one"} > 0',
    "sum(wide)",
    "sum by (a, job) (wide)",
    "sum without (b, instance) (wide)",
    "topk by (a) (1, wide)",
    'count_values("n", wide)',
    "max_over_time(wide[1m])",
    "max_over_time(sum by (a) (wide)[1m:100ms])",
    "histogram_quantile(0.5, sum by (job, le) (rate(took_seconds_bucket[1m])))",
    "rate(took_seconds_sum[1m]) / rate(took_seconds_count[1m])",
    "wide + same",
    "wide > same - 1",
    "wide / on (a, job) narrow",
    "wide > on (a) (narrow - 1)",
    "wide / ignoring (b) narrow",
    "wide * on (a) group_left narrow",
    "wide * on (job) group_left (c) other",
    "other * on (job) group_right (c) wide",
    "wide and on (a) narrow",
    "wide unless on (a) narrow > 5",
    "narrow or other",
    "sum by (job) (wide) == 3 or absent(wide{a='three'})",
    "absent(missing{a='x', b!='y', job=~'z'})",
    "absent(sum(missing{a='x'}))",
    "vector(1)",
    "1 - avg by (a) (wide)",
    "2 * (wide offset 0s)",
    "-wide",
    'label_replace(wide, "d", "$1", "b", "(.*)")',
    'label_join(narrow, "d", "-", "a", "job")',
    "clamp_max(wide, 1) > bool 0",
    "hour()",
    "sort_desc(narrow)",
    "scalar(narrow{a='one'}) * wide",
    "wide * on () group_left vector(2)",
  ])("has the labels that are derived for %s", async (text) => {
    const { labels, sure, problems } = derived(text.replaceAll("missing", "wide"));
    const samples = await prometheus.query(text);
    const keys = samples.map(({ metric }) => Object.keys(metric).filter((name) => name !== "__name__"));
    expect(problems.filter((message) => !/is never|fails as soon as/.test(message))).toEqual([]);
    expect(samples).not.toEqual([]);
    expect([...new Set(keys.flat())].sort()).toEqual(labels);
    for (const own of keys) expect(new Set(own).isSupersetOf(new Set(sure))).toBe(true);
  });

  test.each(["wide / narrow", "wide and other", "wide + ignoring (a) other"])(
    "answers nothing to %s, whose sides never match",
    async (text) => {
      expect(await prometheus.query(text)).toEqual([]);
      expect(derived(text).problems).toEqual([expect.stringContaining("The two sides never match")]);
    },
  );

  test("answers nothing to sides whose values never match", async () => {
    const text = 'wide{a="one"} and on (a) narrow{a="two"}';
    expect(await prometheus.query(text)).toEqual([]);
    expect(derived(text).problems).toEqual([
      "The two sides never match: a is one on the left and two on the right.",
    ]);
  });

  test.each([
    ["wide / on (job, instance) narrow{a='one'}", "left", "a, b"],
    ["narrow{a='one'} > on (job, instance) wide", "right", "a, b"],
    ["narrow * on (job, instance) group_left wide", "right", "a, b"],
    ["sum by (a, job) (wide) * on (job) group_right wide", "left", "a"],
    ["narrow{a='one'} > ignoring (a, b) wide", "right", "a, b"],
  ])("fails to match several samples to one in %s", async (text, side, labels) => {
    await expect(prometheus.query(text)).rejects.toThrow(/many-to-many|multiple matches/);
    expect(derived(text).problems).toEqual([
      expect.stringContaining(
        `Prometheus fails as soon as two samples of the ${side} side differ only in ${labels}.`,
      ),
    ]);
  });

  test("matches the one series that describes a thing", () => {
    expect(derived("wide * on (job, instance) group_left (version) thing_info").problems).toEqual([]);
    expect(derived("wide * on (job, instance) group_left (c) other").problems).toHaveLength(1);
  });

  test.each([
    ['wide{job!="ectus"}', "This leaves nothing: job is always ectus."],
    ['wide{a!~"one|t.*"}', "This leaves nothing: a is always one or two."],
    ['wide{b!~".*"}', "This leaves nothing: b is always such."],
    [
      'wide{b="x|y"}',
      'b is compared with "x|y" letter by letter. If it is a regular expression, write b=~"x|y".',
    ],
    [
      "histogram_quantile(0.5, sum by (job) (rate(took_seconds_bucket[1m])))",
      "it lacks the label le. Keep it",
    ],
  ])("answers nothing to %s", async (text, message) => {
    expect(await prometheus.query(text)).toEqual([]);
    expect(derived(text).problems).toEqual([expect.stringContaining(message)]);
  });

  test("has buckets with the bounds that are derived", async () => {
    const le = known().find("took_seconds_bucket")?.labels.get("le");
    const samples = await prometheus.query("took_seconds_bucket");
    expect(le).toEqual({ values: samples.map(({ metric }) => metric.le) });
    expect(derived('took_seconds_bucket{le="1"}').problems).toEqual([
      expect.stringContaining(
        'le of took_seconds_bucket is never "1". It is one of: 2e-05, 0.0001, 0.25, 1.0,',
      ),
    ]);
  });

  test("refuses what is no regular expression", async () => {
    await expect(prometheus.query('wide{b=~"x("}')).rejects.toThrow(/regexp/);
    expect(derived('wide{b=~"x("}').problems).toEqual(['"x(" is no regular expression.']);
  });
});

test("a recorded series has the labels of its expression and its own, and surely what all of its rules have", () => {
  const series = known(`
      - { record: a:wide:sum, expr: "sum by (a) (wide)", labels: { signal: one } }
      - { record: a:wide:sum, expr: "sum by (a, b) (wide)", labels: { signal: two } }
      - { record: b, expr: a:wide:sum }
`);
  expect(derived("b", series)).toEqual({ labels: ["a", "b", "signal"], sure: ["a", "signal"], problems: [] });
  expect(derived('b{signal="three"}', series).problems).toEqual([
    'signal of b is never "three". It is one of: one, two.',
  ]);
  expect([...(series.find("b")?.madeFrom ?? [])]).toEqual(["wide"]);
});

test("a series that is recorded from itself ends no check", () => {
  const series = known("      - { record: a, expr: sum by (job) (a) or sum by (job) (wide) }\n");
  expect(derived("a", series).labels).toEqual(["job"]);
});

test("values are looked for in each alternative of a regular expression", () => {
  expect(derived('wide{a=~"one|t.*"}').problems).toEqual([]);
  expect(derived('wide{a!~"one|three"}').problems).toEqual([
    'a of wide is never "three". It is one of: one, two.',
  ]);
  expect(derived('wide{a="overflow"}').problems).toEqual([]);
  expect(derived('sum by (a) (wide{a="one"}) and on (a) narrow{a="tow"}').problems).toEqual([
    'a of narrow is never "tow". It is one of: one, two.',
  ]);
});
