// A stream of chunks that holds its provider's slot until it is over, however it comes to be over.
import type { StreamMeter } from "./call-meter.ts";
import type { ChatCompletionChunk } from "./chat.ts";
import type { CallOutcome } from "./circuit-breaker.ts";
import { outcomeOf } from "./routing.ts";

type Result = IteratorResult<ChatCompletionChunk, undefined>;
/** `error` is what the source threw. */
type OnEnd = (outcome: CallOutcome, error?: unknown) => void;

/**
 * Wraps `source` so that `onEnd` is called exactly once: when the iteration ends, throws or is returned early, or when
 * `signal` is aborted, even if nobody has begun to iterate.
 */
export function holdStream(
  source: AsyncIterable<ChatCompletionChunk>,
  signal: AbortSignal,
  onEnd: OnEnd,
  meter?: StreamMeter,
): AsyncIterableIterator<ChatCompletionChunk, undefined> {
  const held = new HeldStream(source, signal, onEnd, meter);
  if (signal.aborted) held.handleEvent();
  else signal.addEventListener("abort", held);
  return held;
}

class HeldStream implements AsyncIterableIterator<ChatCompletionChunk, undefined> {
  readonly #source: AsyncIterator<ChatCompletionChunk>;
  readonly #signal: AbortSignal;
  readonly #onEnd: OnEnd;
  readonly #meter: StreamMeter | undefined;
  readonly #onResult: (result: IteratorResult<ChatCompletionChunk>) => Result;
  readonly #onError: (error: unknown) => never;
  /** Calls that the source has not answered. */
  #pending = 0;
  #over = false;
  #settled = false;

  constructor(
    source: AsyncIterable<ChatCompletionChunk>,
    signal: AbortSignal,
    onEnd: OnEnd,
    meter: StreamMeter | undefined,
  ) {
    this.#source = source[Symbol.asyncIterator]();
    this.#signal = signal;
    this.#onEnd = onEnd;
    this.#meter = meter;
    // Made once a stream, not once a chunk.
    this.#onResult = (result) => {
      meter?.resumes();
      this.#pending -= 1;
      if (result.done) {
        this.#finish("success");
        return { value: undefined, done: true };
      }
      meter?.chunk(result.value);
      if (this.#over) this.#settle();
      return result;
    };
    this.#onError = (error) => {
      meter?.resumes();
      this.#pending -= 1;
      this.#finish(outcomeOf(error), error);
      throw error;
    };
  }

  next(): Promise<Result> {
    const result = this.#source.next();
    this.#pending += 1;
    // A chunk that was there already is no wait: what it took to read it lies before this.
    this.#meter?.waits();
    return result.then(this.#onResult, this.#onError);
  }

  async return(): Promise<Result> {
    this.#pending += 1;
    this.#finish("neutral");
    try {
      await this.#source.return?.();
    } finally {
      this.#pending -= 1;
      this.#settle();
    }
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The signal's "abort" event. The provider listens to the same signal and ends the work. */
  handleEvent(): void {
    this.#finish("neutral");
  }

  #finish(outcome: CallOutcome, error?: unknown): void {
    if (!this.#over) {
      this.#over = true;
      this.#signal.removeEventListener("abort", this);
      this.#onEnd(outcome, error);
    }
    this.#settle();
  }

  /** The slot is free as soon as the stream is over, but the provider may have a token in the making. */
  #settle(): void {
    if (this.#settled || this.#pending > 0) return;
    this.#settled = true;
    this.#meter?.settled();
  }
}
