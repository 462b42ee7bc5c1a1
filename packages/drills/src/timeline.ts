// What happened in a drill, in its order, and how a step fails: with what was expected and what was seen.
import { setTimeout as delay } from "node:timers/promises";
import { errorMessage } from "@ectus/core";

export interface Step {
  /** RFC 3339. */
  readonly at: string;
  /** Milliseconds since the drill began. */
  readonly afterMs: number;
  readonly what: string;
  readonly ok: boolean;
  /** Of a step that failed. */
  readonly expected?: string;
  readonly seen?: string;
}

export interface Timeline {
  readonly steps: readonly Step[];
  done(what: string): void;
  /** The drill has failed by then, whatever follows. */
  failed(failure: Failure): void;
}

export interface Failure {
  readonly what: string;
  readonly expected: string;
  readonly seen: string;
}

/** Ends a drill: what follows could not be judged any more. */
export class StepFailed extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(`${failure.what}: expected ${failure.expected}, seen ${failure.seen}`);
    this.failure = failure;
  }
}

export function startTimeline(onStep: (step: Step) => void, now: () => number = Date.now): Timeline {
  const steps: Step[] = [];
  const startedAt = now();
  const add = (what: string, failure?: Failure): void => {
    const at = now();
    const step: Step = {
      at: new Date(at).toISOString(),
      afterMs: at - startedAt,
      what,
      ok: failure === undefined,
      ...(failure === undefined ? {} : { expected: failure.expected, seen: failure.seen }),
    };
    steps.push(step);
    onStep(step);
  };
  return { steps, done: (what) => add(what), failed: (failure) => add(failure.what, failure) };
}

export interface Wait<T> {
  /** The step, as the timeline has it. */
  readonly what: string;
  readonly expected: string;
  /** Asked again and again; undefined is not yet. One that throws is asked again. */
  readonly ask: () => Promise<T | undefined>;
  /** What there is instead, once time is up. */
  readonly seen: () => Promise<string>;
  readonly withinMs: number;
  readonly signal: AbortSignal;
}

const askEveryMs = 100;

/** @throws StepFailed when it has not come in time */
export async function waitFor<T>({ what, expected, ask, seen, withinMs, signal }: Wait<T>): Promise<T> {
  const giveUpAt = performance.now() + withinMs;
  let lastFault: unknown;
  while (true) {
    signal.throwIfAborted();
    const answer = await ask().catch((error: unknown) => {
      lastFault = error;
      return undefined;
    });
    if (answer !== undefined) return answer;
    if (performance.now() > giveUpAt) break;
    await delay(askEveryMs, undefined, { signal });
  }
  const instead = await seen().catch(errorMessage);
  const fault = lastFault === undefined ? "" : ` (an answer failed: ${errorMessage(lastFault)})`;
  throw new StepFailed({ what, expected: `${expected} within ${withinMs / 1_000} s`, seen: instead + fault });
}

/** The work's result, or the reason of the signal if that is aborted first. */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", onAbort));
}
