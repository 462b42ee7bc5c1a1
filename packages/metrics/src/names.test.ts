import { expect, test } from "vitest";
import { checkLabelNames, checkMetricName } from "./names.ts";

test.each(["up", "a:b", "_x", "http.requests", "größe", "with space", "1st", "__name"])(
  "a metric may be called %s",
  (name) => {
    expect(() => checkMetricName(name)).not.toThrow();
  },
);

test.each(["", "\ud800", "a\0b", undefined, 5])("a metric may not be called %j", (name) => {
  expect(() => checkMetricName(name as string)).toThrow(TypeError);
});

test("labels may have any name but an empty one, a reserved one, half a character, NUL, and one twice", () => {
  expect(() => checkLabelNames("m", ["method", "größe", "a.b", "constructor", "0"])).not.toThrow();
  for (const names of [
    [""],
    ["__proto__"],
    ["__name__"],
    ["\udc00"],
    ["a\0"],
    ["a", "b", "a"],
    [5 as unknown as string],
  ])
    expect(() => checkLabelNames("m", names)).toThrow(TypeError);
});
