// The engine: finds a model's providers, admits the call, falls back, and says what was used. It knows no HTTP, no
// tenant and no key.
import { EctusError, type Logger } from "@ectus/core";
import { createAdmission } from "./admission.ts";
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
import type { CallOptions, Operation, Provider } from "./provider.ts";
import type { ProviderConfig, ProvidersConfig } from "./providers-config.ts";
import { type Accepted, type Lane, type Route, tryRoutes } from "./routing.ts";
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
}

export interface ChatStreamResult extends AnsweredBy {
  /** Throws `stream_interrupted` where the answer is cut; its last chunk has `usage` if the provider said it. */
  readonly chunks: AsyncIterable<ChatCompletionChunk>;
  /** What was used so far, or null where only the stream's end says it. Exact once the stream is over. */
  usageSoFar(): TokenUsage | null;
}

export interface EmbeddingsResult extends AnsweredBy {
  readonly response: EmbeddingsResponse;
  readonly usage: TokenUsage | null;
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
}

interface Model {
  readonly info: ModelInfo;
  readonly routes: readonly Route[];
}

const defaultQueueWaitMs = 30_000;

export function createEngine(options: EngineOptions): Engine {
  const { config, log, now = Date.now } = options;
  const lanes = createLanes(options, now);
  const models = createModels(config, lanes, Math.floor(now() / 1000));
  const infos = [...models.values()].map(({ info }) => info);

  function routesOf(id: string, operation: Operation): readonly Route[] {
    const model = models.get(id);
    if (model === undefined) throw new EctusError("model_not_found", { model: id, param: "model" });
    if (!model.info.operations.includes(operation))
      throw new EctusError("unsupported_operation", { model: id, operation, param: "model" });
    return model.routes;
  }

  const routing = {
    now,
    onRouteFailed(route: Route, error: unknown): void {
      const code = error instanceof EctusError ? error.code : undefined;
      const err = code === undefined ? error : undefined;
      log.warn(
        { provider: route.lane.provider.name, providerModel: route.model, code, err },
        "provider failed",
      );
    },
  };

  function finish({ route, permit, startedAt }: Accepted<unknown>, outcome: CallOutcome): void {
    route.lane.circuit.record(permit, outcome);
    route.lane.admission.release(now() - startedAt);
  }

  return {
    models: () => infos,
    model: (id) => models.get(id)?.info,
    async chat(request, call) {
      const accepted = await tryRoutes(
        request.model,
        routesOf(request.model, "chat"),
        call,
        routing,
        (route) => route.lane.provider.chat({ ...request, model: route.model }, call),
      );
      finish(accepted, "success");
      const { value: completion, route } = accepted;
      return {
        completion,
        provider: route.lane.provider.name,
        providerModel: route.model,
        usage: toTokenUsage(completion.usage),
      };
    },
    async streamChat(request, call) {
      const accepted = await tryRoutes(
        request.model,
        routesOf(request.model, "chat"),
        call,
        routing,
        (route) => route.lane.provider.streamChat({ ...request, model: route.model }, call),
      );
      const { value, route, permit } = accepted;
      route.lane.circuit.record(permit, "started");
      return {
        chunks: holdStream(value, call.signal, (outcome) => finish(accepted, outcome)),
        usageSoFar: () => toTokenUsage(value.usageSoFar?.()),
        provider: route.lane.provider.name,
        providerModel: route.model,
      };
    },
    async embed(request, call) {
      const accepted = await tryRoutes(
        request.model,
        routesOf(request.model, "embeddings"),
        call,
        routing,
        (route) => route.lane.provider.embed({ ...request, model: route.model }, call),
      );
      finish(accepted, "success");
      const { value: response, route } = accepted;
      return {
        response,
        provider: route.lane.provider.name,
        providerModel: route.model,
        usage: toEmbeddingUsage(response.usage),
      };
    },
    status() {
      return [...lanes.values()].map(({ provider, circuit, admission }) => ({
        name: provider.name,
        circuit: circuit.state,
        inFlight: admission.inFlight,
        queued: admission.queued,
      }));
    },
    async close() {
      await Promise.all([...lanes.values()].map(({ provider }) => provider.close()));
    },
  };
}

function createLanes(options: EngineOptions, now: () => number): ReadonlyMap<string, Lane> {
  const { config, providers, log, circuit = defaultCircuit, maxQueueWaitMs = defaultQueueWaitMs } = options;
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
        log.warn({ provider: name, circuit: state }, "circuit changed");
      }),
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
