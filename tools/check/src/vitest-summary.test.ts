import { expect, test } from "vitest";
import { summarize } from "./vitest-summary.ts";

const file = (status: string, ...tests: string[]) => ({
  status,
  assertionResults: tests.map((testStatus) => ({ status: testStatus })),
});

const report = (counts: [passed: number, failed: number, pending: number], ...testResults: unknown[]) =>
  JSON.stringify({
    numPassedTests: counts[0],
    numFailedTests: counts[1],
    numPendingTests: counts[2],
    numTodoTests: 0,
    testResults,
  });

test("tests are counted as Vitest counts them", () => {
  const json = report([3, 1, 2], file("failed", "passed", "failed"), file("passed", "passed", "passed"));
  expect(summarize(json)).toEqual({ passed: 3, failed: 1, skipped: 2 });
});

test("a file that failed before its tests ran counts as one failure", () => {
  expect(summarize(report([1, 0, 0], file("passed", "passed"), file("failed")))).toMatchObject({ failed: 1 });
});

test.each(["", "{", "null", "{}", '{"numPassedTests":3}'])(
  "the report %j says nothing, which is a failure",
  (json) => {
    expect(summarize(json)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  },
);
