// What is sent to an upstream: the request as it came, but for what this platform keeps to itself.
import type { ChatRequest } from "../../chat.ts";
import type { EmbeddingsRequest } from "../../embeddings.ts";

/** Makes the bodies of requests for one upstream. */
export interface RequestBodies {
  plain(request: ChatRequest): object;
  stream(request: ChatRequest): object;
  embeddings(request: EmbeddingsRequest): object;
}

/**
 * Fields by which proxies such as LiteLLM let a caller choose where a request goes and with whose key. A tenant must not
 * lead this platform's upstreams, and the keys that they hold, anywhere else.
 */
const routingFields = [
  "api_base",
  "api_key",
  "api_type",
  "api_version",
  "base_url",
  "custom_llm_provider",
  "deployment_id",
  "extra_body",
  "extra_headers",
  "extra_query",
  "fallbacks",
  "headers",
  "mock_response",
  "model_list",
  "organization",
] as const;
const notSent: Readonly<Record<string, undefined>> = Object.fromEntries(
  [...routingFields, "store", "metadata"].map((field) => [field, undefined]),
);

/**
 * `store` and `metadata` are kept by this platform and not sent on, so that no upstream keeps what a tenant asked this
 * platform to keep.
 *
 * OpenAI's reasoning models refuse `max_tokens` and all of its models know the newer `max_completion_tokens`; of other
 * servers some know only the older name. So at OpenAI the newer name is used for both, and elsewhere nothing is changed.
 */
export function createRequestBodies(hostname: string): RequestBodies {
  const isOpenAi = /(^|\.)openai\.(azure\.)?com$/.test(hostname);

  const own = (request: ChatRequest): object => ({
    ...request,
    ...(isOpenAi && request.max_tokens != null
      ? { max_tokens: undefined, max_completion_tokens: request.max_completion_tokens ?? request.max_tokens }
      : {}),
    ...notSent,
  });

  return {
    embeddings: (request) => ({ ...request, ...notSent }),
    plain: (request) => ({ ...own(request), stream: undefined, stream_options: undefined }),
    // Usage is always asked for, since the platform bills by it; web-api hides it from a client that did not ask.
    stream: (request) => ({
      ...own(request),
      stream: true,
      stream_options: { ...request.stream_options, include_usage: true },
    }),
  };
}
