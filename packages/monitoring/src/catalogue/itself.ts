// What the monitoring says of the program and of itself.
import { atMost, counter, gauge, histogram } from "./entry.ts";

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
} as const;
