// Keeps calls away from a provider that fails: closed while it works, open for a while after failures, then half-open
// for one trial call that decides.
export type CircuitState = "closed" | "open" | "half-open";

export interface CircuitOptions {
  /** Failures in a row that open the circuit. */
  readonly consecutiveFailures: number;
  /** Share of failures among the calls of the window that opens it, from 0 to 1 … */
  readonly failureRatio: number;
  /** … if the window holds at least this many calls. */
  readonly minimumCalls: number;
  readonly windowMs: number;
  /** How long it stays open before the trial. */
  readonly coolDownMs: number;
}

export const defaultCircuit: CircuitOptions = {
  consecutiveFailures: 5,
  failureRatio: 0.5,
  minimumCalls: 20,
  windowMs: 30_000,
  coolDownMs: 10_000,
};

/**
 * How a call ended. "started": a stream gave its first chunk, and its end is still to be told. "neutral": it says
 * nothing about the provider's health, such as a client that went away.
 */
export type CallOutcome = "success" | "failure" | "started" | "neutral" | "rejected";

export interface CircuitBreaker {
  readonly state: CircuitState;
  /** Whether `begin` would let a call pass. */
  readonly allows: boolean;
  /** Milliseconds until the next trial; 0 unless open. */
  readonly waitMs: number;
  /** Lets a call pass and returns its permit, or returns undefined. Every permit ends in one `record`. */
  begin(): Permit | undefined;
  /** Tells how the call of this permit went; "started" may come before the end. */
  record(permit: Permit, outcome: CallOutcome): void;
}

/** The period that a call began in: what a call of an earlier period says does not count any more. */
export type Permit = number;

const bucketCount = 10;

export function createCircuitBreaker(
  options: CircuitOptions,
  now: () => number,
  onChange: (state: CircuitState) => void = () => {},
): CircuitBreaker {
  const { consecutiveFailures, failureRatio, minimumCalls, windowMs, coolDownMs } = options;
  const bucketMs = windowMs / bucketCount;
  const calls = new Uint32Array(bucketCount);
  const failures = new Uint32Array(bucketCount);
  let newestBucket = Math.floor(now() / bucketMs);
  let state: CircuitState = "closed";
  let period: Permit = 0;
  let inARow = 0;
  let openedAt = 0;
  let trialRuns = false;

  function change(to: CircuitState): void {
    state = to;
    // Closing keeps the trial's period, so that the end of a stream whose beginning closed the circuit still counts.
    if (to !== "closed") period += 1;
    inARow = 0;
    trialRuns = false;
    if (to === "open") openedAt = now();
    if (to === "closed") {
      calls.fill(0);
      failures.fill(0);
    }
    onChange(to);
  }

  // Time alone turns open into half-open, so that is looked at whenever somebody asks.
  function current(): CircuitState {
    if (state === "open" && now() - openedAt >= coolDownMs) change("half-open");
    return state;
  }

  function bucket(): number {
    const newest = Math.floor(now() / bucketMs);
    const passed = Math.min(bucketCount, newest - newestBucket);
    for (let step = 1; step <= passed; step += 1) {
      calls[(newestBucket + step) % bucketCount] = 0;
      failures[(newestBucket + step) % bucketCount] = 0;
    }
    if (newest > newestBucket) newestBucket = newest;
    return newestBucket % bucketCount;
  }

  function count(failed: boolean): void {
    const index = bucket();
    calls[index] = (calls[index] ?? 0) + 1;
    if (!failed) {
      inARow = 0;
      return;
    }
    failures[index] = (failures[index] ?? 0) + 1;
    inARow += 1;
    const all = sum(calls);
    if (inARow >= consecutiveFailures || (all >= minimumCalls && sum(failures) >= failureRatio * all))
      change("open");
  }

  function recordTrial(outcome: CallOutcome): void {
    switch (outcome) {
      case "failure":
        change("open");
        break;
      case "neutral":
        // It decided nothing: the next call is the trial.
        trialRuns = false;
        break;
      case "started":
        change("closed");
        // A stream that only began has not proved its end: the next failure opens the circuit again at once.
        inARow = consecutiveFailures - 1;
        break;
      case "success":
      case "rejected":
        // A refusal is an answer: the provider is back.
        change("closed");
        break;
    }
  }

  return {
    get state() {
      return current();
    },
    get allows() {
      return current() === "closed" || (state === "half-open" && !trialRuns);
    },
    get waitMs() {
      return current() === "open" ? coolDownMs - (now() - openedAt) : 0;
    },
    begin() {
      current();
      if (state === "open" || (state === "half-open" && trialRuns)) return undefined;
      if (state === "half-open") trialRuns = true;
      return period;
    },
    record(permit, outcome) {
      if (permit !== period) return;
      if (state === "half-open") recordTrial(outcome);
      else if (state === "closed" && (outcome === "success" || outcome === "failure"))
        count(outcome === "failure");
    },
  };
}

function sum(values: Uint32Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
