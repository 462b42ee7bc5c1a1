// What is measured of inference, in the instruments of the catalogue: the series of each model, provider and operation,
// found once and kept, since the configuration bounds them. call-meter.ts measures single calls with them.
import type { CounterOf, Instruments } from "@ectus/monitoring";
import { type CallMeter, type CallSeries, measureCall, noMeter } from "./call-meter.ts";
import type { FailureReason, InferenceOutcome } from "./call-outcome.ts";
import type { CircuitState } from "./circuit-breaker.ts";
import type { Operation } from "./provider.ts";
import type { ModelConfig, ProvidersConfig } from "./providers-config.ts";
import { costUsd, type ModelPrice, type TokenUsage } from "./usage.ts";

export interface EngineMetrics {
  /**
   * A call begins.
   *
   * @param model one of the configuration's: a client's text never becomes a label
   */
  begin(model: string, operation: Operation): CallMeter;
}

export interface EngineMetricsOptions {
  readonly instruments: Instruments;
  readonly config: ProvidersConfig;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonicNow: () => number;
  /** Asked for before each scrape. */
  readonly circuits: () => readonly { readonly name: string; readonly circuit: CircuitState }[];
}

const circuitValues: Readonly<Record<CircuitState, number>> = { closed: 0, "half-open": 1, open: 2 };

export function createEngineMetrics(options: EngineMetricsOptions): EngineMetrics {
  const { instruments, config, monotonicNow, circuits } = options;
  if (!instruments.enabled) return { begin: () => noMeter };

  instruments.gauge("ai_provider_circuit_state", (gauge) => {
    for (const { name, circuit } of circuits()) gauge.labels({ provider: name }).set(circuitValues[circuit]);
  });
  const findSeries = createSeries(instruments, config);
  for (const [id, { operations, routes }] of config.models) {
    for (const operation of operations) {
      const series = findSeries(id, operation);
      // A counter that begins at its first failure would hide that one from rate() and increase().
      for (const { provider } of routes)
        for (const outcome of ["completed", "failed"] as const) series.of(provider).requests(outcome);
    }
  }
  return { begin: (model, operation) => measureCall(findSeries(model, operation), monotonicNow) };
}

function createSeries(instruments: Instruments, { models }: ProvidersConfig) {
  const requests = instruments.counter("ai_inference_requests_total");
  const durations = instruments.histogram("ai_inference_duration_seconds");
  const firstTokens = instruments.histogram("ai_time_to_first_token_seconds");
  const outputTokens = instruments.histogram("ai_time_per_output_token_seconds");
  const failures = instruments.counter("ai_inference_errors_total");
  const active = instruments.gauge("ai_active_sessions");
  const tokens = instruments.counter("ai_tokens_total");
  const costs = instruments.counter("ai_cost_usd_total");

  const usageOf = keep((model: string) => {
    const price = models.get(model)?.price;
    return createUsage(tokens, model, price === undefined ? undefined : createCost(costs, model, price));
  });
  const makeSeries = (model: string, operation: Operation): CallSeries => {
    const errorsOf = keep((provider: string) =>
      keep((reason: FailureReason) => failures.labels({ provider, model, reason })),
    );
    return {
      active: active.labels({ model }),
      of: keep((provider: string) => {
        const labels = { provider, model };
        return {
          requests: keep((outcome: InferenceOutcome) => requests.labels({ ...labels, operation, outcome })),
          duration: once(() => durations.labels({ ...labels, operation })),
          timeToFirstToken: once(() => firstTokens.labels(labels)),
          timePerOutputToken: once(() => outputTokens.labels(labels)),
        };
      }),
      errors: (provider, reason) => errorsOf(provider)(reason),
      used: usageOf(model),
    };
  };
  const chats = keep((model: string) => makeSeries(model, "chat"));
  const embeddings = keep((model: string) => makeSeries(model, "embeddings"));
  return (model: string, operation: Operation): CallSeries =>
    operation === "chat" ? chats(model) : embeddings(model);
}

/** Counts tokens and their cost. A model that never says its usage, or has no price, gets no series. */
function createUsage(
  counter: CounterOf<"ai_tokens_total">,
  model: string,
  addCost: ((usage: TokenUsage) => void) | undefined,
) {
  const tokens = once(() => ({
    input: counter.labels({ model, type: "input" }),
    output: counter.labels({ model, type: "output" }),
    cached: counter.labels({ model, type: "cached" }),
    reasoning: counter.labels({ model, type: "reasoning" }),
  }));
  return (usage: TokenUsage): void => {
    const { input, output, cached, reasoning } = tokens();
    input.inc(usage.inputTokens);
    output.inc(usage.outputTokens);
    cached.inc(usage.cachedTokens);
    reasoning.inc(usage.reasoningTokens);
    addCost?.(usage);
  };
}

/**
 * Floating-point sums of millionths of a cent drift, so the sum is kept in whole picodollars, and the counter is
 * brought up to it: it is off by its own last digit, however many calls there were.
 */
function createCost(counter: CounterOf<"ai_cost_usd_total">, model: string, price: ModelPrice) {
  const cost = once(() => counter.labels({ model }));
  let picodollars = 0n;
  let shown = 0;
  return (usage: TokenUsage): void => {
    const [whole = "0", decimals = ""] = (costUsd(price, usage) ?? "0").split(".");
    picodollars += BigInt(whole + decimals.padEnd(12, "0"));
    const more = Math.max(Number(picodollars) / 1e12 - shown, 0);
    cost().inc(more);
    shown += more;
  };
}

/** Tells how long models took to load, under the ids that they have on this platform. */
export function measureModelLoads(
  instruments: Instruments,
  models: ReadonlyMap<string, ModelConfig>,
): (load: { readonly provider: string; readonly model: string; readonly durationMs: number }) => void {
  const durations = instruments.histogram("ai_model_load_duration_seconds");
  return ({ provider, model, durationMs }) => {
    for (const [id, { routes }] of models)
      if (routes.some((route) => route.provider === provider && route.model === model))
        durations.labels({ model: id }).observe(durationMs / 1000);
  };
}

/** A function that makes each value at its first use. */
function keep<Key, Value>(make: (key: Key) => Value): (key: Key) => Value {
  const made = new Map<Key, Value>();
  return (key) => {
    let value = made.get(key);
    if (value === undefined) {
      value = make(key);
      made.set(key, value);
    }
    return value;
  };
}

function once<Value extends object>(make: () => Value): () => Value {
  let value: Value | undefined;
  return () => {
    value ??= make();
    return value;
  };
}
