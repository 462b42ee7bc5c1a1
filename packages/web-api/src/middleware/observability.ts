// What every request gets: its context, its trace, its metrics and its line in the log.
import type { Logging, LogSample } from "@ectus/core";
import type { Instruments, Tracing } from "@ectus/monitoring";
import type { FastifyInstance } from "fastify";
import { addAccessLog } from "./access-log.ts";
import { addHttpMetrics, type HttpMetrics } from "./metrics.ts";
import { addRequestContext } from "./request-context.ts";

export interface ObservabilityOptions {
  readonly logging: Logging;
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  readonly traceTrustedPeers: readonly string[];
  readonly slowRequestMs: number;
  readonly slowInferenceMs: number;
  readonly logSample: ReadonlyMap<string, LogSample>;
}

/** Before any other hook that may answer, so that it sees every request. */
export function addObservability(
  app: FastifyInstance,
  { instruments, logging }: ObservabilityOptions,
): HttpMetrics {
  const metrics = addHttpMetrics(app, instruments);
  addRequestContext(app);
  addAccessLog(app, logging.module("web-api"));
  return metrics;
}
