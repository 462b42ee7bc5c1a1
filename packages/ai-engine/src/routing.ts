// Tries a model's routes in their order until one accepts, and says what to tell the client if none does.
import { EctusError, type ErrorCode } from "@ectus/core";
import type { SpanTemplate } from "@ectus/monitoring";
import type { Admission } from "./admission.ts";
import type { RouteMeter } from "./call-meter.ts";
import type { CircuitBreaker, Permit } from "./circuit-breaker.ts";
import type { CallOptions, Provider } from "./provider.ts";
import { recordWait } from "./step-spans.ts";

/** A provider with what the engine knows of it. */
export interface Lane {
  readonly provider: Provider;
  readonly admission: Admission;
  readonly circuit: CircuitBreaker;
  /** What a wait for its turn is recorded as. */
  readonly wait: SpanTemplate;
}

export interface Route {
  readonly lane: Lane;
  /** The provider's own name of the model. */
  readonly model: string;
}

/** A call that a provider accepted. The slot is held until `settleCall`. */
export interface Accepted<T> {
  readonly value: T;
  readonly route: Route;
  readonly permit: Permit;
  readonly startedAt: number;
}

export interface Routing {
  readonly now: () => number;
  /** Told of each failure that counts against a provider, whether another one mends it or not. */
  readonly onRouteFailed: (route: Route, error: unknown) => void;
  readonly meter: RouteMeter;
}

/** Failures that another provider may not have, and that count against this one's circuit. */
const failures = new Set<ErrorCode>([
  "upstream_error",
  "upstream_timeout",
  "stream_interrupted",
  "model_unavailable",
]);
/** Those that another provider may not have either, but that say nothing about this one's health. */
const busy = new Set<ErrorCode>(["upstream_rate_limited", "overloaded"]);
/** Answers: the request is at fault. */
const rejections = new Set<ErrorCode>(["upstream_rejected", "context_length_exceeded"]);

/** How a call that ended with `error` counts for the circuit. */
export function outcomeOf(error: unknown): "failure" | "neutral" | "rejected" {
  // What is no coded error is a fault within the provider's code.
  if (!(error instanceof EctusError)) return "failure";
  if (failures.has(error.code)) return "failure";
  return rejections.has(error.code) ? "rejected" : "neutral";
}

/**
 * Calls `attempt` on the first route whose circuit allows it and whose queue has room; on a failure that another
 * provider could mend, on the next one. `attempt` must not have given anything to the client when it throws.
 *
 * If no route accepts, the error is that of the last provider that was asked; if none could be asked, `overloaded`
 * where a queue was full, since that passes soonest, else `provider_unavailable`.
 */
export async function tryRoutes<T>(
  model: string,
  routes: readonly Route[],
  options: CallOptions,
  { now, onRouteFailed, meter }: Routing,
  attempt: (route: Route) => Promise<T>,
): Promise<Accepted<T>> {
  let lastError: unknown;
  let fullLane: Lane | undefined;
  for (const route of routes) {
    const { provider, admission, circuit } = route.lane;
    // Nobody who is gone already has caused any work.
    if (options.signal.aborted) throw new EctusError("client_closed_request");
    if (!circuit.allows) {
      meter.passedOver(provider.name, "circuit_open");
      continue;
    }
    if (!admission.tryAcquire() && !(await awaitTurn(route.lane, options.signal, meter))) {
      meter.passedOver(provider.name, "overloaded");
      fullLane ??= route.lane;
      continue;
    }
    const startedAt = now();
    // Asked again: the circuit may have opened while the call waited.
    const permit = circuit.begin();
    if (permit === undefined) {
      admission.release(null);
      meter.passedOver(provider.name, "circuit_open");
      continue;
    }
    try {
      meter.asks(provider.name, route.model);
      const value = await waitFor(attempt(route), meter);
      return { value, route, permit, startedAt };
    } catch (error) {
      meter.tryFailed(provider.name, error);
      const outcome = outcomeOf(error);
      circuit.record(permit, outcome);
      admission.release(now() - startedAt);
      if (outcome === "failure") onRouteFailed(route, error);
      if (!mendable(error)) throw nameAsked(error, route);
      lastError = error;
    }
  }
  if (lastError !== undefined) throw lastError;
  if (fullLane !== undefined) throw fullLane.admission.overloaded();
  throw new EctusError("provider_unavailable", { model, retryAfterSeconds: secondsToTrial(routes) });
}

/** Waits for a slot; false if there is no room. */
async function awaitTurn(
  { admission, wait }: Lane,
  signal: AbortSignal,
  meter: RouteMeter,
): Promise<boolean> {
  if (admission.full) return false;
  try {
    await waitFor(recordWait(wait, admission.acquire(signal)), meter);
    return true;
  } catch (error) {
    if (error instanceof EctusError && error.code === "overloaded") return false;
    throw error;
  }
}

/** What is done until `work` is given, such as putting a request together, is no waiting. */
async function waitFor<T>(work: Promise<T>, meter: RouteMeter): Promise<T> {
  meter.waits();
  try {
    return await work;
  } finally {
    meter.resumes();
  }
}

/** A client that leaves once a provider was asked has caused work: the error says whose. */
function nameAsked(error: unknown, { lane }: Route): unknown {
  return error instanceof EctusError && error.code === "client_closed_request"
    ? new EctusError(
        "client_closed_request",
        { ...error.details, provider: lane.provider.name },
        { cause: error },
      )
    : error;
}

function mendable(error: unknown): boolean {
  return error instanceof EctusError && (failures.has(error.code) || busy.has(error.code));
}

function secondsToTrial(routes: readonly Route[]): number {
  const waits = routes.map(({ lane }) => lane.circuit.waitMs);
  return Math.max(1, Math.ceil(Math.min(...waits) / 1000));
}
