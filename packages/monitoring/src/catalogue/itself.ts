// What the monitoring says of the program and of itself.
import { atMost, counter, gauge, histogram, oneOf } from "./entry.ts";

export const itselfCatalogue = {
  ectus_build_info: gauge({
    help: "Always 1; its labels say what runs.",
    labels: {
      version: atMost(1, "the version of Ectus-R"),
      revision: atMost(1, "the commit that it was built from; `unknown` where nobody said"),
    },
    usedBy: ["dashboard HTTP"],
  }),
  metrics_series_dropped_total: counter({
    help: "Updates for label sets beyond a metric's cap; they are counted in its series `overflow`.",
    labels: { metric: atMost(100, "the name of a metric of this catalogue") },
    usedBy: ["alert MetricsSeriesDropped"],
  }),
  metrics_scrape_duration_seconds: histogram({
    help: "Time from a scrape's request to the end of its answer.",
    unit: "seconds",
    labels: {},
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    bucketsWhy: "a scrape takes milliseconds; Prometheus gives up after 10 s",
    native: false,
    usedBy: ["dashboard HTTP"],
  }),
  trace_spans_exported_total: counter({
    help: "Spans that the receiver of traces has taken.",
    labels: {},
    usedBy: ["dashboard HTTP"],
  }),
  trace_spans_dropped_total: counter({
    help: "Spans of traces that were to be kept and were lost, or could not be recorded.",
    labels: {
      reason: oneOf("trace_full", "buffer_full", "queue_full", "rejected", "undelivered", "stopped"),
    },
    usedBy: ["alert TraceSpansDropped"],
  }),
  traces_total: counter({
    help: "Traces that ended, by the strongest reason to keep them (error, slow, sampled); `none` for those that were dropped as meant.",
    labels: { kept: oneOf("sampled", "error", "slow", "none") },
    usedBy: ["dashboard HTTP"],
  }),
  trace_spans_waiting: gauge({
    help: "Spans in memory: of requests that are not over, and of kept traces that wait for their export.",
    labels: { state: oneOf("recording", "export") },
    usedBy: ["dashboard HTTP"],
  }),
  log_lines_total: counter({
    help: "Lines that were logged.",
    labels: { level: oneOf("trace", "debug", "info", "warn", "error", "fatal") },
    usedBy: ["dashboard HTTP"],
  }),
  log_lines_sampled_out_total: counter({
    help: "Access lines that were left out because their route is sampled.",
    labels: {},
    usedBy: ["dashboard HTTP"],
  }),
  log_lines_dropped_total: counter({
    help: "Lines that were lost because standard output took no more.",
    labels: {},
    usedBy: ["alert LogLinesDropped"],
  }),
} as const;
