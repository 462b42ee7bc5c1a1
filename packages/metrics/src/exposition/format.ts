// The formats of a scrape, and which one a scraper wants.

/** How names are written that an older Prometheus cannot read: https://prometheus.io/docs/instrumenting/escaping_schemes/ */
export type Escaping = "allow-utf-8" | "underscores" | "dots" | "values";

export type Format =
  | { readonly kind: "text"; readonly version: "0.0.4" | "1.0.0"; readonly escaping: Escaping }
  | { readonly kind: "openmetrics"; readonly version: "1.0.0"; readonly escaping: Escaping }
  /** Length-delimited `io.prometheus.client.MetricFamily` messages. */
  | { readonly kind: "protobuf"; readonly escaping: Escaping };
