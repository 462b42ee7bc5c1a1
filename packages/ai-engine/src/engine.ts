// The engine: finds a model's providers, admits the call, falls back, and says what was used. It knows no HTTP, no
// tenant and no key.
import { AsyncLocalStorage } from "node:async_hooks";
import { currentContext, EctusError, type Logger, runInContext } from "@ectus/core";
import { type Instruments, noInstruments } from "@ectus/monitoring";
import { createAdmission } from "./admission.ts";
import { type CallMeter, noMeter } from "./call-meter.ts";
import { type AskedFor, createCallSpans, type RecordedCall } from "./call-span.ts";
import type { ChatCompletion, ChatCompletionChunk, ChatRequest } from "./chat.ts";
import {
  type CallOutcome,
  type CircuitOptions,
  type CircuitState,
  createCircuitBreaker,
  defaultCircuit,
} from "./circuit-breaker.ts";
import type { EmbeddingsRequest, EmbeddingsResponse } from "./embeddings.ts";
import { holdStream } from "./held-stream.ts";
import { createEngineMetrics } from "./metrics.ts";
import type { CallOptions, Operation, Provider } from "./provider.ts";
import type { ProviderConfig, ProvidersConfig } from "./providers-config.ts";
import { type Accepted, type Lane, type Route, tryRoutes } from "./routing.ts";
import { queueTemplate } from "./step-spans.ts";
import { type ModelPrice, type TokenUsage, toEmbeddingUsage, toTokenUsage } from "./usage.ts";

export interface ModelInfo {
  readonly id: string;
  readonly operations: readonly Operation[];
  /** Tokens of request and answer together; null if nobody said. */
  readonly contextTokens: number | null;
  readonly maxOutputTokens: number | null;
  readonly price: ModelPrice | null;
  /** Seconds since 1970 at which this engine took the model up. */
  readonly created: number;
  readonly ownedBy: string;
}

/** Who answered: for usage rows, metrics and spans. */
export interface AnsweredBy {
  readonly provider: string;
  readonly providerModel: string;
}

export interface ChatResult extends AnsweredBy {
  readonly completion: ChatCompletion;
  readonly usage: TokenUsage | null;
  /** Milliseconds that the call has waited for providers and for its turn there; 0 without instruments. */
  readonly providerMs: number;
}

export interface ChatStreamResult extends AnsweredBy {
  /** Throws `stream_interrupted` where the answer is cut; its last chunk has `usage` if the provider said it. */
  readonly chunks: AsyncIterable<ChatCompletionChunk>;
  /** What was used so far, or null where only the stream's end says it. Exact once the stream is over. */
  usageSoFar(): TokenUsage | null;
  /** Milliseconds that the call has waited for providers so far, for chunks too; 0 without instruments. */
  providerMs(): number;
}

export interface EmbeddingsResult extends AnsweredBy {
  readonly response: EmbeddingsResponse;
  readonly usage: TokenUsage | null;
  /** As that of a chat. */
  readonly providerMs: number;
}

export interface ProviderStatus {
  readonly name: string;
  readonly circuit: CircuitState;
  readonly inFlight: number;
  readonly queued: number;
}

/**
 * Calls reject with an EctusError: `model_not_found`, `unsupported_operation`, `overloaded`, `provider_unavailable`,
 * or what the last provider that was asked rejected with.
 *
 * Answers carry the provider's own `id` and `model`.
 */
export interface Engine {
  models(): readonly ModelInfo[];
  model(id: string): ModelInfo | undefined;
  chat(request: ChatRequest, options: CallOptions): Promise<ChatResult>;
  /**
   * Resolves when a provider has sent its first chunk; until then others are tried. The stream keeps its provider's
   * slot until it is read to its end, returned early, or `options.signal` is aborted.
   */
  streamChat(request: ChatRequest, options: CallOptions): Promise<ChatStreamResult>;
  embed(request: EmbeddingsRequest, options: CallOptions): Promise<EmbeddingsResult>;
  status(): readonly ProviderStatus[];
  /** Closes all providers. */
  close(): Promise<void>;
}

export interface EngineOptions {
  readonly config: ProvidersConfig;
  /** By the names in `config`. The engine closes them. */
  readonly providers: ReadonlyMap<string, Provider>;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  readonly circuit?: CircuitOptions;
  /** How long a call may wait for its turn. */
  readonly maxQueueWaitMs?: number;
  /** What is measured goes here; by default nothing is. */
  readonly instruments?: Instruments;
  /** Milliseconds of a clock that nobody sets, for what is measured. */
  readonly monotonicNow?: () => number;
}

interface Model {
  readonly info: ModelInfo;
  readonly routes: readonly Route[];
}

/** What a call wants. */
interface Asked {
  readonly operation: Operation;
  readonly request: AskedFor & { readonly model: string };
  readonly streamed?: boolean;
}

interface Answered<T> extends Accepted<T> {
  readonly meter: CallMeter;
}

const defaultQueueWaitMs = 30_000;

export function createEngine(options: EngineOptions): Engine {
  const { config, log, now = Date.now, instruments = noInstruments } = options;
  const { monotonicNow = () => performance.now() } = options;
  const lanes = createLanes(options, now);
  const models = createModels(config, lanes, Math.floor(now() / 1000));
  const infos = [...models.values()].map(({ info }) => info);

  const metrics = createEngineMetrics({ instruments, config, monotonicNow, circuits: status });
  const spans = createCallSpans(config);

  function status(): readonly ProviderStatus[] {
    return [...lanes.values()].map(({ provider, circuit, admission }) => ({
      name: provider.name,
      circuit: circuit.state,
      inFlight: admission.inFlight,
      queued: admission.queued,
    }));
  }

  function onRouteFailed(route: Route, error: unknown): void {
    const code = error instanceof EctusError ? error.code : undefined;
    const err = code === undefined ? error : undefined;
    log.warn(
      { provider: route.lane.provider.name, providerModel: route.model, code, err },
      "provider failed",
    );
  }

  /** Has one of the model's providers answer. */
  async function ask<T>(
    { operation, request, streamed = false }: Asked,
    call: CallOptions,
    attempt: (route: Route) => Promise<T>,
  ): Promise<Answered<T>> {
    const id = request.model;
    const model = models.get(id);
    if (model === undefined) throw new EctusError("model_not_found", { model: id, param: "model" });
    const measuring = metrics.begin(id, operation);
    const recorded = spans.begin(id, operation, measuring, request, streamed);
    const meter = recorded ?? measuring;
    try {
      if (!model.info.operations.includes(operation))
        throw new EctusError("unsupported_operation", { model: id, operation, param: "model" });
      const accepted = await inSpan(recorded, () =>
        tryRoutes(id, model.routes, call, { now, onRouteFailed, meter }, attempt),
      );
      return { meter, ...accepted };
    } catch (error) {
      meter.failed(error, call.signal);
      throw error;
    }
  }

  function finish({ route, permit, startedAt }: Accepted<unknown>, outcome: CallOutcome): void {
    route.lane.circuit.record(permit, outcome);
    route.lane.admission.release(now() - startedAt);
  }

  return {
    models: () => infos,
    model: (id) => models.get(id)?.info,
    async chat(request, call) {
      const answered = await ask({ operation: "chat", request }, call, (route) =>
        route.lane.provider.chat({ ...request, model: route.model }, call),
      );
      finish(answered, "success");
      const { value: completion, route, meter } = answered;
      const usage = toTokenUsage(completion.usage);
      meter.completed(usage, completion.choices);
      return { completion, ...answeredBy(route), usage, providerMs: meter.waitedMs };
    },
    async streamChat(request, call) {
      const answered = await ask({ operation: "chat", request, streamed: true }, call, (route) =>
        route.lane.provider.streamChat({ ...request, model: route.model }, call),
      );
      const { value, route, permit, meter } = answered;
      route.lane.circuit.record(permit, "started");
      meter.streams(value);
      const onEnd = (outcome: CallOutcome, error: unknown): void => {
        finish(answered, outcome);
        meter.ended(outcome, error, call.signal);
      };
      return {
        chunks: holdStream(value, call.signal, onEnd, meter === noMeter ? undefined : meter),
        usageSoFar: () => toTokenUsage(value.usageSoFar?.()),
        providerMs: () => meter.waitedMs,
        ...answeredBy(route),
      };
    },
    async embed(request, call) {
      const answered = await ask({ operation: "embeddings", request }, call, (route) =>
        route.lane.provider.embed({ ...request, model: route.model }, call),
      );
      finish(answered, "success");
      const { value: response, route, meter } = answered;
      const usage = toEmbeddingUsage(response.usage);
      meter.completed(usage);
      return { response, ...answeredBy(route), usage, providerMs: meter.waitedMs };
    },
    status,
    async close() {
      await Promise.all([...lanes.values()].map(({ provider }) => provider.close()));
    },
  };
}

/** Runs `work` with the call's span as the current one, so that what it records and sends lies under it. */
function inSpan<T>(recorded: RecordedCall | undefined, work: () => T): T {
  const context = currentContext();
  if (recorded === undefined || context === undefined) return work();
  return runInContext({ ...context, span: recorded.span }, work);
}

function answeredBy({ lane, model }: Route): AnsweredBy {
  return { provider: lane.provider.name, providerModel: model };
}

function createLanes(options: EngineOptions, now: () => number): ReadonlyMap<string, Lane> {
  const { config, providers, log, circuit = defaultCircuit, maxQueueWaitMs = defaultQueueWaitMs } = options;
  const outside = AsyncLocalStorage.snapshot();
  const lanes = new Map<string, Lane>();
  for (const [name, settings] of config.providers) {
    const provider = providers.get(name);
    if (provider === undefined) throw new Error(`The provider '${name}' of the configuration was not given.`);
    lanes.set(name, {
      provider,
      admission: createAdmission({
        name,
        maxConcurrent: concurrencyOf(settings),
        queue: settings.queue,
        maxWaitMs: maxQueueWaitMs,
        now,
      }),
      circuit: createCircuitBreaker(circuit, now, (state) => {
        const tell = () => log.warn({ provider: name, circuit: state }, "circuit changed");
        // Time alone does this, whoever looks first: the line is of no call.
        if (state === "half-open") outside(tell);
        else tell();
      }),
      wait: queueTemplate(name),
    });
  }
  return lanes;
}

function concurrencyOf(settings: ProviderConfig): number {
  // A llama.cpp provider has its sequences for each of its models.
  return settings.type === "openai"
    ? settings.maxConcurrent
    : settings.sequences * Math.max(1, Object.keys(settings.models).length);
}

function createModels(
  config: ProvidersConfig,
  lanes: ReadonlyMap<string, Lane>,
  created: number,
): ReadonlyMap<string, Model> {
  const models = new Map<string, Model>();
  for (const [id, settings] of config.models) {
    const routes = settings.routes.map(({ provider, model }) => {
      const lane = lanes.get(provider);
      if (lane === undefined)
        throw new Error(`The model '${id}' has a route to the unknown provider '${provider}'.`);
      return { lane, model };
    });
    models.set(id, {
      info: {
        id,
        operations: settings.operations,
        contextTokens: settings.contextTokens ?? null,
        maxOutputTokens: settings.maxOutputTokens ?? null,
        price: settings.price ?? null,
        created,
        ownedBy: settings.ownedBy ?? settings.routes[0]?.provider ?? "",
      },
      routes,
    });
  }
  return models;
}
