// The servers that bench/http.ts compares.

export const serverKinds = ["bare", "ours", "fastify-metrics"] as const;
export type ServerKind = (typeof serverKinds)[number];

/** The metrics are at /metrics of `metricsPort`, if there are any. */
export interface ServerPorts {
  readonly port: number;
  readonly metricsPort: number | null;
}
