import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { classicLabelName, classicMetricName } from "../names.ts";
import { escapeLabelNames, escapeMetricName, escapeName } from "./name-escaping.ts";

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

test("a classic metric name stays as it is in every scheme", () => {
  for (const escaping of ["underscores", "dots", "values", "allow-utf-8"] as const)
    expect(escapeMetricName("job:http_requests:rate5m", escaping)).toBe("job:http_requests:rate5m");
});

test("whatever a metric is called, its escaped name is a classic one", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", minLength: 1 }), restricted, (name, escaping) => {
      expect(escapeMetricName(name, escaping)).toMatch(classicMetricName);
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
