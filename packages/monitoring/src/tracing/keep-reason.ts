// Why a trace is kept. Any other is dropped when its root ends.

/**
 * - `sampled`: chosen at random, or by a caller that is trusted
 * - `error`: a request was answered with 5xx, or a provider, a statement or a job failed
 * - `slow`: a request or statement took longer than its threshold
 */
export type KeepReason = "sampled" | "error" | "slow";

const strength: Readonly<Record<KeepReason, number>> = { sampled: 0, slow: 1, error: 2 };

/** What is said of a trace that is kept for more than one reason: that it failed, or else was slow. */
export function strongerReason(one: KeepReason | undefined, other: KeepReason): KeepReason {
  return one === undefined || strength[other] > strength[one] ? other : one;
}
