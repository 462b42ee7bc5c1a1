import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Gauge } from "../gauge.ts";
import { Histogram } from "../histogram.ts";
import { classicLabelName, classicMetricName } from "../names.ts";
import type { AnyMetric } from "../registry.ts";
import { escapeLabelNames, escapeMetricNames, escapeName, seriesNames } from "./name-escaping.ts";

const restricted = fc.constantFrom("underscores" as const, "dots" as const, "values" as const);

describe("names are escaped as model.EscapeName does", () => {
  // TestEscapeName in https://github.com/prometheus/common/blob/main/model/metric_test.go (v0.72.1)
  test.each([
    ["", "", "", ""],
    ["no:escaping_required", "no:escaping_required", "no:escaping__required", "no:escaping_required"],
    [
      "mysystem.prod.west.cpu.load",
      "mysystem_prod_west_cpu_load",
      "mysystem_dot_prod_dot_west_dot_cpu_dot_load",
      "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load",
    ],
    [
      "mysystem.prod.west.cpu.load_total",
      "mysystem_prod_west_cpu_load_total",
      "mysystem_dot_prod_dot_west_dot_cpu_dot_load__total",
      "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load__total",
    ],
    ["http.status:sum", "http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum"],
    ["label with 😱", "label_with__", "label__with____", "U__label_20_with_20__1f631_"],
    ["花火", "__", "____", "U___82b1__706b_"],
    ["label with \u0100", "label_with__", "label__with____", "U__label_20_with_20__100_"],
  ])("%j", (name, underscores, dots, values) => {
    expect(escapeName(name, "underscores")).toBe(underscores);
    expect(escapeName(name, "dots")).toBe(dots);
    expect(escapeName(name, "values")).toBe(values);
    expect(escapeName(name, "allow-utf-8")).toBe(name);
  });

  test("a digit at the beginning is not allowed there", () => {
    expect(escapeName("2xx", "underscores")).toBe("_xx");
    expect(escapeName("2xx", "dots")).toBe("__xx");
    expect(escapeName("2xx", "values")).toBe("U___32_xx");
  });
});

const gauge = (name: string) => new Gauge({ name, help: "G.", registers: [] }) as unknown as AnyMetric;
const histogram = (name: string) =>
  new Histogram({ name, help: "H.", registers: [] }) as unknown as AnyMetric;

test("a metric whose escaped name another one has is told from it", () => {
  const metrics = [
    gauge("a.b_total"),
    gauge("a_b_total"),
    gauge("a-b_total"),
    histogram("h.s"),
    gauge("h_s_sum"),
  ];
  const shown = (escaping: "underscores" | "dots" | "allow-utf-8") => [
    ...escapeMetricNames(metrics, escaping).values(),
  ];
  expect(shown("underscores")).toEqual(["_a_b_total", "a_b_total", "__a_b_total", "_h_s", "h_s_sum"]);
  expect(shown("dots")).toEqual(["a_dot_b__total", "a_b_total", "a__b__total", "h_dot_s", "h_s_sum"]);
  expect(shown("allow-utf-8")).toEqual(["a.b_total", "a_b_total", "a-b_total", "h.s", "h_s_sum"]);
});

test("whatever metrics are called, the escaped names of their series are classic ones and differ", () => {
  const name = fc.oneof(
    fc.string({ unit: "binary", minLength: 1 }).filter((text) => !text.includes("\0")),
    fc.string({ unit: fc.constantFrom("a", ".", "_", ":"), minLength: 1, maxLength: 3 }),
  );
  fc.assert(
    fc.property(fc.uniqueArray(name, { maxLength: 8 }), restricted, (names, escaping) => {
      const metrics = names.map((one, index) => (index % 2 === 0 ? gauge(one) : histogram(one)));
      const shown = escapeMetricNames(metrics, escaping);
      for (const [metric, one] of shown) {
        expect(one).toMatch(classicMetricName);
        if (classicMetricName.test(metric.name)) expect(one).toBe(metric.name);
      }
      const all = [...shown].flatMap(([metric, one]) => seriesNames(metric, one));
      expect(new Set(all).size).toBe(all.length);
    }),
  );
});

test("whatever labels are called, their escaped names are classic ones and differ", () => {
  const name = fc.oneof(
    fc.string({ unit: "binary", minLength: 1 }),
    fc.string({ unit: fc.constantFrom("a", ".", "_", ":"), minLength: 1, maxLength: 3 }),
  );
  fc.assert(
    fc.property(fc.uniqueArray(name, { maxLength: 8 }), restricted, (names, escaping) => {
      const escaped = escapeLabelNames(names, escaping);
      for (const [index, label] of escaped.entries()) {
        expect(label).toMatch(classicLabelName);
        if (classicLabelName.test(names[index] as string)) expect(label).toBe(names[index]);
      }
      expect(new Set(escaped).size).toBe(names.length);
    }),
  );
});
