// The one interface that every provider implements; the engine routes requests over it.
import type { ChatCompletion, ChatCompletionChunk, ChatRequest, CompletionUsage } from "./chat.ts";
import type { EmbeddingsRequest, EmbeddingsResponse } from "./embeddings.ts";

export type Operation = "chat" | "embeddings";

export interface CallOptions {
  /** Aborted when the client goes away or the server stops: the provider ends the work at once. */
  readonly signal: AbortSignal;
  /** Passed on to upstreams, so that one id joins the logs of both sides. */
  readonly correlationId?: string;
}

export interface ProviderStream extends AsyncIterable<ChatCompletionChunk> {
  /** What was used so far, of a provider that counts itself: for a stream that ends before its usage came. */
  usageSoFar?(): CompletionUsage;
}

/**
 * A program that answers requests: an upstream API or a model in this process. `request.model` is the provider's own
 * name of the model.
 *
 * All methods reject with an `EctusError`: `upstream_rejected` (4xx that is the request's fault), `upstream_rate_limited`,
 * `upstream_error`, `upstream_timeout`, `model_unavailable`, `overloaded`, `context_length_exceeded`,
 * `client_closed_request` (when `signal` was aborted; `details.usage` has what was used by then if the provider counts
 * itself).
 */
export interface Provider {
  readonly name: string;
  chat(request: ChatRequest, options: CallOptions): Promise<ChatCompletion>;
  /**
   * Resolves once the provider has accepted the request, so that until then another provider can be tried. The
   * iteration throws `stream_interrupted` if the stream ends before its end mark; it asks the provider for more only
   * as fast as it is read. The last chunk carries `usage` if the provider says it.
   */
  streamChat(request: ChatRequest, options: CallOptions): Promise<ProviderStream>;
  embed(request: EmbeddingsRequest, options: CallOptions): Promise<EmbeddingsResponse>;
  /** Ends connections and frees memory; calls in progress are aborted. */
  close(): Promise<void>;
}
