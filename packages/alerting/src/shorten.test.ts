import fc from "fast-check";
import { expect, test } from "vitest";
import { formatDuration } from "./duration.ts";
import { parseExpression } from "./promql.ts";
import { parseRuleFile } from "./rule-files.ts";
import { shortenExpression, shortenRules } from "./shorten.ts";

const factors = { windows: 60, objective: 3_000, ages: 600 };

test.each([
  ["rate(x[5m])", "rate(x[5s])"],
  ["rate(x[5m] offset -1h)", "rate(x[5s] offset -1m)"],
  ["max_over_time(rate(x[5m])[1h:30s])", "max_over_time(rate(x[5s])[1m:500ms])"],
  ["rate(x[300]) > 0.05", "rate(x[5s]) > 0.05"],
  ["predict_linear(x[1h], 4 * 3600) < 0", "predict_linear(x[1m], (4 * 3600) / 60) < 0"],
  ["predict_linear(x[1h], 4h) < 0", "predict_linear(x[1m], 4m) < 0"],
  ["rate(x[20ms])", "rate(x[1ms])"],
  ["x > 300", "x > 300"],
])("%s becomes %s", (text, shortened) => {
  expect(shortenExpression(text, factors)).toBe(shortened);
});

test.each([
  [
    "max by (job) (export_oldest_running_seconds) > 14400",
    "max by (job) (export_oldest_running_seconds) > 24",
  ],
  ["14400 < export_oldest_running_seconds", "24 < export_oldest_running_seconds"],
  ["export_oldest_running_seconds > 4h", "export_oldest_running_seconds > 24s"],
  ["export_oldest_running_seconds > 4 * 3600", "export_oldest_running_seconds > (4 * 3600) / 600"],
  ["time() - process_start_time_seconds < 600", "time() - process_start_time_seconds < 1"],
  [
    "export_oldest_running_seconds > 14400 and rate(x[5m]) > 60",
    "export_oldest_running_seconds > 24 and rate(x[5s]) > 60",
  ],
])("what an age is compared with is shortened: %s", (text, shortened) => {
  expect(shortenExpression(text, factors)).toBe(shortened);
});

const rules = `# A comment stays.
groups:
  - name: g
    interval: 30s
    rules:
      - record: a
        expr: rate(x[5m])   # as does this
      - alert: A
        expr: |-
          rate(x[5m]) > 5
          and rate(y[1h]) > 1
        for: 5m
        keep_firing_for: 90s
        annotations: { summary: 'for 5m, [5m]' }
      - alert: B
        expr: "rate(x{a=\\"b\\"}[10m])"
        for: 0s
      - alert: C
        expr: >-
          rate(x[10m])
          > 1
        labels: { area: objective }
        for: 1h
  - name: objective-ratios
    rules:
      - record: b
        expr: rate(x[3d])
`;

test("a rule file stays the same text but for its times, windows of the objective by their own factor", () => {
  const { file } = parseRuleFile("rules.yaml", rules);
  expect(shortenRules(file, factors)).toBe(`# A comment stays.
groups:
  - name: g
    interval: 500ms
    rules:
      - record: a
        expr: rate(x[5s])   # as does this
      - alert: A
        expr: |-
          rate(x[5s]) > 5
          and rate(y[1m]) > 1
        for: 5s
        keep_firing_for: 1500ms
        annotations: { summary: 'for 5m, [5m]' }
      - alert: B
        expr: "rate(x{a=\\"b\\"}[10s])"
        for: 0s
      - alert: C
        expr: "rate(x[200ms]) > 1"
        labels: { area: objective }
        for: 1m
  - name: objective-ratios
    rules:
      - record: b
        expr: rate(x[86400ms])
`);
});

test("a factor of one changes no time", () => {
  const { file } = parseRuleFile("rules.yaml", rules);
  const same = shortenRules(file, { windows: 1, objective: 1, ages: 1 });
  const times = (text: string) =>
    parseRuleFile("rules.yaml", text).file.groups.flatMap(({ rules }) =>
      rules.map(({ expression }) => expression.durations.map(({ ms }) => ms)),
    );
  expect(times(same)).toEqual(times(rules));
});

const duration = fc.integer({ min: 1, max: 300_000_000 });
const metric = fc.constantFrom("a", "job:b:rate5m", "c_seconds_bucket");
const selector = fc
  .tuple(metric, fc.constantFrom("", '{job="x"}', "{path!~\"/5m/.*\", a='[5m]'}", "{a=`5m`}"))
  .map(([name, matchers]) => name + matchers);
const ranged = fc
  .tuple(fc.constantFrom("rate", "max_over_time", "count_over_time"), selector, duration)
  .map(([call, of, ms]) => `${call}(${of}[${formatDuration(ms)}])`);
const shifted = fc
  .tuple(selector, duration, fc.constantFrom("", "-"))
  .map(([of, ms, sign]) => `${of} offset ${sign}${formatDuration(ms)}`);
const nested = fc
  .tuple(ranged, duration, fc.option(duration, { nil: undefined }))
  .map(
    ([of, ms, step]) =>
      `min_over_time(${of}[${formatDuration(ms)}:${step === undefined ? "" : formatDuration(step)}])`,
  );
const term = fc.oneof(selector, ranged, shifted, nested);
const expression = fc
  .array(fc.tuple(term, fc.constantFrom(" + ", " > ", " and on (job) ", "\n or ")), {
    minLength: 1,
    maxLength: 4,
  })
  .chain((terms) =>
    fc
      .constantFrom("1", "300", "0.05")
      .map((last) => `${terms.map((each) => each.join("")).join("")}${last}`),
  )
  .filter((text) => !/(and on \(job\)|or) [\d.]+$/.test(text));

test("whatever is shortened can be read, has each duration divided, and is otherwise the same text", () => {
  fc.assert(
    fc.property(expression, fc.integer({ min: 1, max: 100_000 }), (text, factor) => {
      const before = parseExpression(text);
      const after = parseExpression(shortenExpression(text, { windows: factor, ages: factor }));
      expect(after.durations.map(({ ms }) => ms)).toEqual(
        before.durations.map(({ ms }) => Math.max(1, Math.round(ms / factor))),
      );
      expect(withoutDurations(after)).toBe(withoutDurations(before));
    }),
  );
});

function withoutDurations({ text, durations }: ReturnType<typeof parseExpression>): string {
  const sorted = durations.toSorted((a, b) => b.from - a.from);
  return sorted.reduce((rest, { from, to }) => `${rest.slice(0, from)}…${rest.slice(to)}`, text);
}
