// A stream of chunks that holds its provider's slot until it is over, however it comes to be over.
import type { CallOutcome } from "./circuit-breaker.ts";
import { outcomeOf } from "./routing.ts";

type Result<T> = IteratorResult<T, undefined>;

/**
 * Wraps `source` so that `onEnd` is called exactly once: when the iteration ends, throws or is returned early, or when
 * `signal` is aborted, even if nobody has begun to iterate.
 */
export function holdStream<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
  onEnd: (outcome: CallOutcome) => void,
): AsyncIterableIterator<T, undefined> {
  const held = new HeldStream(source, signal, onEnd);
  if (signal.aborted) held.handleEvent();
  else signal.addEventListener("abort", held);
  return held;
}

class HeldStream<T> implements AsyncIterableIterator<T, undefined> {
  readonly #source: AsyncIterator<T>;
  readonly #signal: AbortSignal;
  readonly #onEnd: (outcome: CallOutcome) => void;
  readonly #onResult: (result: IteratorResult<T>) => Result<T>;
  readonly #onError: (error: unknown) => never;
  #over = false;

  constructor(source: AsyncIterable<T>, signal: AbortSignal, onEnd: (outcome: CallOutcome) => void) {
    this.#source = source[Symbol.asyncIterator]();
    this.#signal = signal;
    this.#onEnd = onEnd;
    // Made once a stream, not once a chunk.
    this.#onResult = (result) => {
      if (result.done) {
        this.#finish("success");
        return { value: undefined, done: true };
      }
      return result;
    };
    this.#onError = (error) => {
      this.#finish(outcomeOf(error));
      throw error;
    };
  }

  next(): Promise<Result<T>> {
    return this.#source.next().then(this.#onResult, this.#onError);
  }

  async return(): Promise<Result<T>> {
    this.#finish("neutral");
    await this.#source.return?.();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The signal's "abort" event. The provider listens to the same signal and ends the work. */
  handleEvent(): void {
    this.#finish("neutral");
  }

  #finish(outcome: CallOutcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#signal.removeEventListener("abort", this);
    this.#onEnd(outcome);
  }
}
