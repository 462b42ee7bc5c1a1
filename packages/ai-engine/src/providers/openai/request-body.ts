// What is sent to an upstream: the request as it came, but for what this platform keeps to itself.
import type { ChatRequest } from "../../chat.ts";

/** Makes the bodies of chat requests for one upstream. */
export interface RequestBodies {
  plain(request: ChatRequest): object;
  stream(request: ChatRequest): object;
}

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
    store: undefined,
    metadata: undefined,
  });

  return {
    plain: (request) => ({ ...own(request), stream: undefined, stream_options: undefined }),
    // Usage is always asked for, since the platform bills by it; web-api hides it from a client that did not ask.
    stream: (request) => ({
      ...own(request),
      stream: true,
      stream_options: { ...request.stream_options, include_usage: true },
    }),
  };
}
