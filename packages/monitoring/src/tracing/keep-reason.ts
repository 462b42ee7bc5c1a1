// Why a trace is kept. Any other is dropped when its root ends.

/**
 * - `sampled`: chosen at random, or by a caller that is trusted
 * - `error`: a request was answered with 5xx, or a provider, a statement or a job failed
 * - `slow`: a request or statement took longer than its threshold
 */
export type KeepReason = "sampled" | "error" | "slow";
