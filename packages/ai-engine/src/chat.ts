// The shapes of OpenAI's chat completions as they pass through the engine. Only the fields that the platform reads
// are named; all others pass through untouched.

/** A request body that web-api has checked. Fields that are not named here go on to the provider as they are. */
export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly stream?: boolean | null;
  readonly stream_options?: { readonly include_usage?: boolean } | null;
  readonly max_tokens?: number | null;
  readonly max_completion_tokens?: number | null;
  readonly temperature?: number | null;
  readonly top_p?: number | null;
  readonly seed?: number | null;
  readonly stop?: string | readonly string[] | null;
  readonly frequency_penalty?: number | null;
  readonly presence_penalty?: number | null;
  readonly n?: number | null;
  readonly tools?: readonly unknown[];
  readonly response_format?: ResponseFormat;
  readonly user?: string;
  readonly [field: string]: unknown;
}

export type ResponseFormat =
  | { readonly type: "text" }
  | { readonly type: "json_object" }
  | {
      readonly type: "json_schema";
      readonly json_schema: {
        readonly name: string;
        readonly schema?: object;
        readonly strict?: boolean | null;
      };
    };

export interface ChatMessage {
  readonly role: "system" | "developer" | "user" | "assistant" | "tool" | "function";
  readonly content?: string | readonly ContentPart[] | null;
  readonly [field: string]: unknown;
}

export interface ContentPart {
  readonly type: string;
  readonly text?: string;
  readonly [field: string]: unknown;
}

export type FinishReason = "stop" | "length" | "tool_calls" | "content_filter" | "function_call";

/** OpenAI's usage object as providers send it. */
export interface CompletionUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: {
    readonly cached_tokens?: number;
    readonly [field: string]: unknown;
  } | null;
  readonly completion_tokens_details?: {
    readonly reasoning_tokens?: number;
    readonly [field: string]: unknown;
  } | null;
}

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  readonly choices: readonly ChatChoice[];
  readonly usage?: CompletionUsage | null;
  readonly [field: string]: unknown;
}

export interface ChatChoice {
  readonly index: number;
  readonly message: ChatMessage;
  readonly finish_reason: FinishReason | null;
  readonly [field: string]: unknown;
}

export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  readonly choices: readonly ChunkChoice[];
  usage?: CompletionUsage | null;
  readonly [field: string]: unknown;
}

export interface ChunkChoice {
  readonly index: number;
  readonly delta: {
    readonly role?: string;
    readonly content?: string | null;
    readonly [field: string]: unknown;
  };
  readonly finish_reason: FinishReason | null;
  readonly [field: string]: unknown;
}
