// What is measured of inference, by the engine.
import { atMost, counter, gauge, histogram, oneOf } from "./entry.ts";

const provider = atMost(50, "the name of a provider in `AI_PROVIDERS`; `none` where none was asked");
const model = atMost(200, "the id of a model in `AI_PROVIDERS`");
const operation = oneOf("chat", "embeddings");

// Not more than the configuration's providers, models and their routes make, times outcomes or reasons.
const maxSeries = 10_000;

export const aiCatalogue = {
  ai_inference_requests_total: counter({
    help: "Inference requests that are over, by the provider that answered or was asked last. `failed`: without an answer, open circuits included; `interrupted`: cut after the beginning of a stream; `rejected`: the request's fault; `overloaded`: no room, here or upstream.",
    labels: {
      provider,
      model,
      operation,
      outcome: oneOf("completed", "failed", "interrupted", "rejected", "overloaded", "client_closed"),
    },
    usedBy: ["dashboard AI", "alert AiProviderFailing"],
    maxSeries,
  }),
  ai_inference_duration_seconds: histogram({
    help: "Time of inference requests that completed, waiting for a turn and tries with other providers included; of a stream, until its end was read.",
    unit: "seconds",
    labels: { provider, model, operation },
    buckets: [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
    bucketsWhy: "those that OpenTelemetry's conventions advise for gen_ai.client.operation.duration",
    native: true,
    usedBy: ["dashboard AI", "alert AiProviderSlow"],
  }),
  ai_time_to_first_token_seconds: histogram({
    help: "Time of streams until the first chunk with text, thoughts or a tool call, waiting for a turn and tries with other providers included.",
    unit: "seconds",
    labels: { provider, model },
    buckets: [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
    bucketsWhy: "those that OpenTelemetry's conventions advise for gen_ai.server.time_to_first_token",
    native: true,
    usedBy: ["dashboard AI", "alert HighLatency", "alert TimeToFirstTokenHigh"],
  }),
  ai_time_per_output_token_seconds: histogram({
    help: "Time of completed streams for each token after the first, as a mean of each stream.",
    unit: "seconds",
    labels: { provider, model },
    buckets: [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5],
    bucketsWhy: "those that OpenTelemetry's conventions advise for gen_ai.server.time_per_output_token",
    native: true,
    usedBy: ["dashboard AI", "alert AiProviderSlow"],
  }),
  ai_gateway_overhead_seconds: histogram({
    help: "Time of answered inference requests that was spent neither waiting for the provider nor for the client.",
    unit: "seconds",
    labels: { operation },
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    bucketsWhy:
      "from a tenth of a millisecond, which is what a request costs without the database, to beyond the alert's 1 s, above which no quantile would be seen otherwise",
    native: true,
    usedBy: ["dashboard AI", "alert HighLatency"],
  }),
  ai_model_load_duration_seconds: histogram({
    help: "Time that built-in models took to load. One that has several ids is counted under each.",
    unit: "seconds",
    labels: { model },
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120],
    bucketsWhy: "a small model takes a third of a second, a large one from a slow disk minutes",
    native: true,
    usedBy: ["dashboard AI"],
  }),
  ai_active_sessions: gauge({
    help: "Inference requests under way or waiting for their turn.",
    labels: { model },
    usedBy: ["dashboard AI"],
  }),
  ai_inference_errors_total: counter({
    help: "Failed tries of providers, also those that another provider mended, and routes that were passed over because they were `overloaded` or had a `circuit_open`. A try includes the provider's own retries.",
    labels: {
      provider,
      model,
      reason: oneOf(
        "upstream_error",
        "upstream_timeout",
        "upstream_rate_limited",
        "upstream_rejected",
        "context_length_exceeded",
        "invalid_request",
        "stream_interrupted",
        "model_unavailable",
        "overloaded",
        "circuit_open",
        "shutting_down",
        "internal_error",
      ),
    },
    usedBy: ["dashboard AI", "alert AiProviderFailing"],
    maxSeries,
  }),
  ai_tokens_total: counter({
    help: "Tokens as providers counted them, also of answers that were cut. Cached ones are among the input, reasoning ones among the output.",
    labels: { model, type: oneOf("input", "output", "cached", "reasoning") },
    usedBy: ["dashboard AI", "dashboard business"],
  }),
  ai_cost_usd_total: counter({
    help: "Cost of tokens in US dollars by the prices in `AI_PROVIDERS`. A model without a price has no series.",
    labels: { model },
    usedBy: ["dashboard business"],
  }),
  ai_provider_circuit_state: gauge({
    help: "Circuit breaker of a provider: 0 closed, 1 half-open, 2 open.",
    labels: { provider },
    usedBy: ["dashboard AI", "alert AiProviderFailing"],
  }),
} as const;
