// What the double can be told to do with a request.

/** What the upstream does with one request. Everything left out is as a healthy server does it. */
export interface Behavior {
  /** Milliseconds before the headers. */
  readonly delayMs?: number;
  /** Waits for this before the headers. */
  readonly after?: Promise<unknown>;
  /** Waits for this after the first chunk of a stream. */
  readonly restAfter?: Promise<unknown>;
  /** Waits for ever: before the headers, or in a stream after the headers or after the first chunk. */
  readonly hang?: "before-headers" | "after-headers" | "mid-stream";
  /** Cuts the connection with a TCP reset: before the headers, after the first chunk, or within the second one. */
  readonly reset?: "before-headers" | "mid-stream" | "half-chunk";
  /** Closes the connection orderly in the middle of the body. */
  readonly truncate?: boolean;
  /** Answers with this status and an error body. */
  readonly status?: number;
  /** The header `Retry-After` of an error answer. */
  readonly retryAfter?: string;
  /** The message of the error body. */
  readonly errorMessage?: string;
  /** Sent with status 200 in place of the JSON answer, or in place of the stream's second chunk. */
  readonly raw?: string;
  /** Content type of the answer. */
  readonly contentType?: string;
  /** false: the answer says no usage. */
  readonly usage?: false | { readonly prompt_tokens: number; readonly completion_tokens: number };
  /** Content of the answer; of a stream one chunk each. */
  readonly content?: readonly string[];
  /** A stream of this many chunks of `chunkText`, as fast as the reader takes them. */
  readonly chunkCount?: number;
  readonly chunkText?: string;
  /** Milliseconds between the chunks of a stream. */
  readonly dripMs?: number;
  /** Writes a stream in pieces of this many bytes, each in a packet of its own. */
  readonly pieceBytes?: number;
  /** Sends this message as an error after the first chunk: as an `error` event, or as data with an error object. */
  readonly errorEvent?: { readonly as: "event" | "data"; readonly message: string };
  /** false: the stream ends without `[DONE]`. */
  readonly done?: false;
  /** false: no chunk carries a finish_reason. */
  readonly finishReason?: false;
}
