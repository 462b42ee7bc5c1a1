// The servers that bench/observability.ts compares, and what it tells them.

/** The last four are Ectus-R's without one part, and without all: its context and hooks are left. */
export const serverKinds = [
  "bare",
  "ours",
  "usual",
  "usual-own-log",
  "without-traces",
  "without-log",
  "without-metrics",
  "context-only",
] as const;
export type ServerKind = (typeof serverKinds)[number];

export const route = "/v1/items/:id";
export const path = "/v1/items/17";
export const item = { object: "item", name: "a thing of the bench" } as const;

/** Share of traces that are kept by chance. */
export const sampleRatio = 0.01;

/** The metrics are at /metrics of `metricsPort`, if there are any. */
export interface ServerPorts {
  readonly port: number;
  readonly metricsPort: number | null;
}

/** What the receiver of traces got since it was asked before. */
export interface Received {
  readonly traces: number;
  readonly spans: number;
  /** Names of spans, each once. */
  readonly names: readonly string[];
}
