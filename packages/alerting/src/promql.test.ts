import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import { parseExpression } from "./promql.ts";

test("an expression tells its selectors, durations and calls, each with its place", () => {
  const text = 'sum by (job) (rate(a_total{job="x", path!~"/h/.*|/(y|z)"}[5m] offset -1h)) > 0.1';
  const { selectors, durations, calls } = parseExpression(text);
  expect(selectors).toEqual([
    {
      metric: "a_total",
      matchers: [
        { label: "job", operator: "=", value: "x", alternatives: ["x"], from: text.indexOf("job=") },
        {
          label: "path",
          operator: "!~",
          value: "/h/.*|/(y|z)",
          alternatives: ["/h/.*", "/(y|z)"],
          from: text.indexOf("path"),
        },
      ],
      from: text.indexOf("a_total"),
      to: text.indexOf("[5m]"),
    },
  ]);
  expect(durations.map(({ ms, from, to }) => [ms, text.slice(from, to)])).toEqual([
    [300_000, "5m"],
    [3_600_000, "1h"],
  ]);
  expect(calls).toEqual([{ name: "rate", from: text.indexOf("rate") }]);
});

test("a plain number in a range is a count of seconds, and subqueries have two durations", () => {
  expect(parseExpression("rate(x[300])").durations.map(({ ms }) => ms)).toEqual([300_000]);
  expect(parseExpression("max_over_time(rate(x[5m])[1h:30s])").durations.map(({ ms }) => ms)).toEqual([
    300_000, 3_600_000, 30_000,
  ]);
});

test.each([
  [`{"a.b", c="d"}`, "a.b", { c: "d" }],
  [`{__name__="ab", c='d'}`, "ab", { __name__: "ab", c: "d" }],
  [`{c="d"}`, undefined, { c: "d" }],
  [`x{"c.d"="e"}`, "x", { "c.d": "e" }],
  ['x{c="\\"\\\\\\u00e9\\x41\\101\\n"}', "x", { c: '"\\éAA\n' }],
  ["x{c=`\\d`}", "x", { c: "\\d" }],
])("%s is read as Prometheus reads it", (text, metric, labels) => {
  const [selector] = parseExpression(text).selectors;
  expect(selector?.metric).toBe(metric);
  expect(Object.fromEntries(selector?.matchers.map(({ label, value }) => [label, value]) ?? [])).toEqual(
    labels,
  );
});

test.each([
  ["sum(rat(x[5m]))", 4, "there is no function rat"],
  ["sum(x", 5, "ends too early"],
  ["x > ", 4, "ends too early"],
  ['x{a="b}', 4, "this string is not closed"],
  ['x{a="\\d"}', 4, "\\d stands for no character"],
  ["a b", 2, '"b" is not expected here'],
  ["rate(x[5m * 2])", 7, "no plain duration"],
  ["rate(x[step()])", 7, "no plain duration"],
])("%s is refused, with its place and why", (text, offset, reason) => {
  const error = (() => {
    try {
      parseExpression(text);
    } catch (thrown) {
      return thrown;
    }
    return undefined;
  })();
  expect(error).toBeInstanceOf(EctusError);
  expect(error).toMatchObject({
    code: "invalid_expression",
    details: { offset, reason: expect.stringContaining(reason) },
  });
});
