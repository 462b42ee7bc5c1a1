// What is measured of HTTP, by the middleware of the API.
import { atMost, counter, gauge, histogram, oneOf } from "./entry.ts";

const method = oneOf("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other");
const path = atMost(100, "the route's pattern; `unmatched` where no route fits");
const status = atMost(40, "the status code of the answer; 499 when the client went away before its end");

const sizes = [128, 512, 2048, 8192, 32_768, 131_072, 524_288, 2_097_152, 8_388_608, 33_554_432, 134_217_728];
const sizesWhy = "by 4, from a bare request to the largest upload";

export const httpCatalogue = {
  http_requests_total: counter({
    help: "HTTP requests that are over.",
    labels: { method, path, status },
    usedBy: [
      "dashboard HTTP",
      "alert HighErrorRate",
      "alert ErrorBudgetBurnFast",
      "alert ErrorBudgetBurnSlow",
    ],
  }),
  http_request_duration_seconds: histogram({
    help: "Time from a request's head to the end of its answer; of a stream, its whole length.",
    unit: "seconds",
    labels: { method, path, status },
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    bucketsWhy:
      "those of every Prometheus client, with the alert's 1 s among them, and 30 and 60 s for streams",
    native: true,
    usedBy: ["dashboard HTTP", "alert HighLatency"],
  }),
  http_request_errors_total: counter({
    help: "HTTP requests that were answered with a status of 500 or more.",
    labels: { method, path, status },
    usedBy: [
      "dashboard HTTP",
      "alert HighErrorRate",
      "alert ErrorBudgetBurnFast",
      "alert ErrorBudgetBurnSlow",
    ],
  }),
  http_responses_broken_total: counter({
    help: "HTTP answers that broke off after a status below 500, by a fault that is not the client's: streams whose provider failed or whose settlement did not succeed.",
    labels: { method, path },
    usedBy: [
      "dashboard HTTP",
      "alert HighErrorRate",
      "alert ErrorBudgetBurnFast",
      "alert ErrorBudgetBurnSlow",
    ],
  }),
  http_requests_in_flight: gauge({
    help: "HTTP requests whose answers are not over.",
    labels: {},
    usedBy: ["dashboard HTTP", "alert ServiceDown"],
  }),
  http_active_connections: gauge({
    help: "Open connections to the API.",
    labels: {},
    usedBy: ["dashboard HTTP"],
  }),
  http_request_size_bytes: histogram({
    help: "Bytes of requests as they came over the wire, heads included.",
    unit: "bytes",
    labels: { method, path },
    buckets: sizes,
    bucketsWhy: sizesWhy,
    native: true,
    usedBy: ["dashboard HTTP"],
  }),
  http_response_size_bytes: histogram({
    help: "Bytes of answers as they went over the wire, heads and chunk framing included; of one that broke off, at most one write more.",
    unit: "bytes",
    labels: { method, path },
    buckets: sizes,
    bucketsWhy: sizesWhy,
    native: true,
    usedBy: ["dashboard HTTP"],
  }),
} as const;
