import { catalogue, externalSeries, syntheticSeries, targetLabels } from "@ectus/monitoring";
import { describe, expect, test } from "vitest";
import { parseExpression } from "../promql.ts";
import { knownSeries } from "./known-series.ts";
import { alertValueProblems, valueProblems } from "./values.ts";

const known = knownSeries({ catalogue, externalSeries, syntheticSeries, targetLabels }, []);

describe("values that cannot be meant", () => {
  test.each([
    [
      "rate(http_active_connections[5m])",
      "http_active_connections is a gauge, and rate() takes each of its falls",
    ],
    ["sum(irate((http_active_connections)[5m:1m]))", "http_active_connections is a gauge, and irate() takes"],
    ["increase(http_active_connections[5m] offset 1h)", "Use deriv(), or avg_over_time()."],
    [
      "deriv(http_requests_total[5m])",
      "http_requests_total is a counter, and deriv() is wrong when it restarts.",
    ],
    ["predict_linear(http_requests_total[5m], 60)", "Use rate()."],
    ["sum by (job) (http_requests_total) > 5", "http_requests_total is a counter: it has grown since"],
    ["1 - http_request_errors_total / http_requests_total", "http_request_errors_total is a counter"],
    ["http_request_duration_seconds_count >= 5", "http_request_duration_seconds_count is a counter"],
    ["max(topk(2, http_requests_total offset 5m)) > 5", "http_requests_total is a counter"],
    [
      "histogram_quantile(0.9, sum by (le) (http_request_duration_seconds_bucket))",
      "Take its rate(), as in rate(http_request_duration_seconds_bucket[5m]).",
    ],
    [
      "histogram_quantile(95, rate(http_request_duration_seconds_bucket[5m]))",
      "A quantile is from 0 to 1: write 95 % as 0.95.",
    ],
    ["quantile_over_time(1.5, up[5m])", "A quantile is from 0 to 1"],
  ])("are found in %s", (text, message) => {
    const [first] = valueProblems(parseExpression(text), known);
    expect(first?.message).toContain(message);
  });

  test.each([
    "rate(http_requests_total[5m]) > 5",
    "http_requests_total",
    "sum by (job) (http_requests_total)",
    "count(http_requests_total) > 5",
    "changes(process_start_time_seconds[15m]) > 3",
    "up unless http_requests_total",
    "absent(http_requests_total) == 1",
    "deriv(http_active_connections[5m]) > 1",
    "max_over_time(rate(http_requests_total[5m])[1h:1m]) > 1",
    "quantile(0.5, up)",
    "histogram_quantile(scalar(up), rate(http_request_duration_seconds_bucket[5m]))",
  ])("are none in %s", (text) => {
    expect(valueProblems(parseExpression(text), known)).toEqual([]);
  });
});

describe("an alert", () => {
  test.each([
    "up",
    "up == bool 0",
    "sum(rate(http_requests_total[5m])) * 60",
    "up == 0 or process_start_time_seconds",
    "(max by (job) (up < bool 1))",
  ])("that fires in any case is found: %s", (text) => {
    const [problem] = alertValueProblems(parseExpression(text), known);
    expect(problem?.message).toContain("The alert fires for as long as there are series");
  });

  test("of a bare counter is told of its rate", () => {
    const [problem] = alertValueProblems(parseExpression("http_requests_total"), known);
    expect(problem?.message).toContain("http_requests_total is a counter");
  });

  test.each([
    "up == 0",
    "max by (job) (up < 1)",
    "(up > bool 0) == 0",
    "absent(up)",
    "up unless on (job) http_requests_in_flight",
    "http_requests_in_flight and on (job) up == 0",
    "up == 0 or absent_over_time(up[5m])",
    "count(up == 0) / 2",
    "clamp_max(up == 0, 1)",
  ])("that fires at times is not: %s", (text) => {
    expect(alertValueProblems(parseExpression(text), known)).toEqual([]);
  });
});
