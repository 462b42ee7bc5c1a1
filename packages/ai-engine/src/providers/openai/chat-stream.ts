// The chunks of a streamed chat completion: bytes of an event stream in, parsed chunks out, as fast as they are read.
import { EctusError } from "@ectus/core";
import type { ChatCompletionChunk } from "../../chat.ts";
import type { ByteSink, Flow } from "./exchange.ts";
import { describeErrorObject, upstreamMessage } from "./failures.ts";
import { createSseParser, type SseParser } from "./sse-parser.ts";

/** Characters that wait to be read before the connection is paused, and at which it is resumed. */
const highWater = 64 * 1024;
const lowWater = 16 * 1024;
const maxEventLength = 4 * 1024 * 1024;
/** OpenAI's bound of `n`. */
const maxChoices = 128;
/** Bytes after the end mark that are dropped before the connection is given up. */
const maxTrailingBytes = 64 * 1024;

export interface ChatStreamOptions {
  readonly provider: string;
  /** Choices that were asked for. */
  readonly choices: number;
  readonly flow: Flow;
  readonly mask: (text: string) => string;
}

/**
 * An async iterator over chunks, and the sink of their bytes. It is read by one reader, one `next()` at a time.
 *
 * A stream is complete when its end mark `[DONE]` came, or when it ended orderly after every choice had its
 * `finish_reason`: several servers leave the mark out, and such an answer lacks nothing that the client waits for.
 * Everything else throws `stream_interrupted`.
 */
export class ChatStream implements ByteSink, AsyncIterableIterator<ChatCompletionChunk> {
  readonly #provider: string;
  readonly #choices: number;
  readonly #flow: Flow;
  readonly #mask: (text: string) => string;
  readonly #parser: SseParser;
  #events: string[] = [];
  #head = 0;
  #waiting = 0;
  #paused = false;
  /** What comes after the last event: not known yet, an orderly end, its end mark, or a failure. */
  #end: undefined | "end-of-stream" | "done" | EctusError;
  #trailingBytes = 0;
  readonly #finished: boolean[] = [];
  #waiter: PromiseWithResolvers<IteratorResult<ChatCompletionChunk, undefined>> | undefined;
  #first: ChatCompletionChunk | undefined;

  constructor({ provider, choices, flow, mask }: ChatStreamOptions) {
    this.#provider = provider;
    this.#choices = choices;
    this.#flow = flow;
    this.#mask = mask;
    this.#parser = createSseParser({
      maxEventLength,
      onEvent: (data, type) => this.#take(data, type),
      onTooLong: () => this.#stopWith(this.#interrupted("it sent an event that is too large")),
    });
  }

  /**
   * Waits for the first chunk and keeps it for the reader. As long as nothing has been read, another provider can be
   * tried; so a stream that fails here is an upstream that failed.
   */
  async waitForFirst(): Promise<void> {
    let result: IteratorResult<ChatCompletionChunk, undefined>;
    try {
      result = await this.next();
    } catch (error) {
      if (error instanceof EctusError && error.code === "stream_interrupted") {
        if (error.details.timeoutMs !== undefined)
          throw new EctusError("upstream_timeout", error.details, { cause: error });
        throw new EctusError("upstream_error", error.details, { cause: error });
      }
      throw error;
    }
    if (result.done)
      throw new EctusError("upstream_error", {
        provider: this.#provider,
        reason: "its stream ended without any chunk",
      });
    this.#first = result.value;
  }

  push(bytes: Buffer): void {
    if (this.#end !== undefined) {
      this.#trailingBytes += bytes.length;
      if (this.#trailingBytes > maxTrailingBytes) this.#flow.stop();
      return;
    }
    this.#parser.push(bytes);
  }

  end(): void {
    if (this.#end === undefined) this.#settle("end-of-stream");
  }

  fail(error: EctusError): void {
    if (this.#end !== undefined) return;
    if (error.code === "client_closed_request") {
      // Nobody reads what is left.
      this.#events = [];
      this.#head = 0;
      this.#settle(error);
    } else if (error.code === "upstream_timeout") {
      const { timeoutMs } = error.details;
      this.#settle(this.#interrupted(`it was silent for ${timeoutMs} ms`, { timeoutMs }, error));
    } else {
      this.#settle(this.#interrupted(String(error.details.reason), {}, error));
    }
  }

  next(): Promise<IteratorResult<ChatCompletionChunk, undefined>> {
    if (this.#first !== undefined) {
      const value = this.#first;
      this.#first = undefined;
      return Promise.resolve({ value, done: false });
    }
    if (this.#head < this.#events.length || this.#end !== undefined) return this.#answer();
    if (this.#waiter !== undefined)
      return Promise.reject(new Error("A chat stream is read by one next() at a time."));
    this.#waiter = Promise.withResolvers();
    return this.#waiter.promise;
  }

  /** The reader wants no more: the connection is closed. */
  return(): Promise<IteratorResult<ChatCompletionChunk, undefined>> {
    this.#first = undefined;
    this.#events = [];
    this.#head = 0;
    // After the end mark the connection is left to end by itself, so that it can be used again.
    if (this.#end !== "done") this.#flow.stop();
    this.#end = "done";
    this.#wake();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #take(data: string, type: string): void {
    if (this.#end !== undefined) return;
    if (data === "[DONE]") {
      this.#flow.complete();
      this.#settle("done");
    } else if (type === "message") {
      this.#events.push(data);
      this.#waiting += data.length;
      if (this.#waiting > highWater && !this.#paused) {
        this.#paused = true;
        this.#flow.pause();
      }
      this.#wake();
    } else if (type === "error") {
      const { message } = upstreamMessage(data, this.#mask);
      this.#stopWith(this.#interrupted(message ?? "it sent an error"));
    }
    // Events of other types are none of this protocol's, so they are dropped, as a browser does without a listener.
  }

  #settle(end: "end-of-stream" | "done" | EctusError): void {
    this.#end = end;
    if (this.#paused) {
      this.#paused = false;
      this.#flow.resume();
    }
    this.#wake();
  }

  #stopWith(error: EctusError): void {
    this.#flow.stop();
    this.#settle(error);
  }

  #wake(): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    this.#waiter = undefined;
    waiter.resolve(this.#answer());
  }

  #answer(): Promise<IteratorResult<ChatCompletionChunk, undefined>> {
    const data = this.#events[this.#head];
    if (data === undefined) return this.#finish();
    this.#head += 1;
    if (this.#head === this.#events.length) {
      this.#events = [];
      this.#head = 0;
    }
    this.#waiting -= data.length;
    let chunk: ChatCompletionChunk | EctusError;
    try {
      chunk = this.#read(JSON.parse(data));
    } catch (error) {
      chunk = this.#interrupted("it sent a chunk that is not valid JSON", {}, error);
    }
    if (chunk instanceof EctusError) {
      this.#events = [];
      this.#head = 0;
      this.#end = "done";
      this.#flow.stop();
      return Promise.reject(chunk);
    }
    if (this.#paused && this.#waiting < lowWater) {
      this.#paused = false;
      this.#flow.resume();
    }
    return Promise.resolve({ value: chunk, done: false });
  }

  #finish(): Promise<IteratorResult<ChatCompletionChunk, undefined>> {
    const end = this.#end;
    this.#end = "done";
    if (end instanceof EctusError) return Promise.reject(end);
    if (end === "end-of-stream" && !this.#everyChoiceFinished())
      return Promise.reject(this.#interrupted("it ended without its end mark"));
    return Promise.resolve({ value: undefined, done: true });
  }

  #read(value: unknown): ChatCompletionChunk | EctusError {
    if (
      typeof value !== "object" ||
      value === null ||
      !Array.isArray((value as ChatCompletionChunk).choices)
    ) {
      const { message } = describeErrorObject(value, this.#mask);
      return this.#interrupted(message ?? "it sent a chunk without choices");
    }
    const chunk = value as ChatCompletionChunk;
    if ("error" in chunk && chunk.error != null) {
      const { message } = describeErrorObject(chunk, this.#mask);
      return this.#interrupted(message ?? "it sent an error");
    }
    for (const choice of chunk.choices) {
      if (typeof choice !== "object" || choice === null)
        return this.#interrupted("it sent a chunk with a choice that is no object");
      const { index = 0, finish_reason } = choice;
      if (!(Number.isInteger(index) && index >= 0 && index < maxChoices))
        return this.#interrupted("it sent a chunk with an unusable index");
      if (finish_reason != null) this.#finished[index] = true;
      else this.#finished[index] ??= false;
    }
    return chunk;
  }

  #everyChoiceFinished(): boolean {
    let finished = 0;
    for (const done of this.#finished) {
      if (done === false) return false;
      if (done) finished += 1;
    }
    return finished >= this.#choices;
  }

  #interrupted(reason: string, details: object = {}, cause?: unknown): EctusError {
    return new EctusError(
      "stream_interrupted",
      { ...details, provider: this.#provider, reason },
      cause === undefined ? undefined : { cause },
    );
  }
}
