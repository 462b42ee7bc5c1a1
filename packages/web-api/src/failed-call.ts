// What becomes of a call to a provider that brought no answer: its account, and what the client is told.
import { type CompletionUsage, toTokenUsage } from "@ectus/ai-engine";
import { EctusError } from "@ectus/core";
import type { Account, Ending } from "./accounting.ts";

/** Whether a provider gave up because the client's signal was aborted. */
export function isAborted(error: unknown): boolean {
  return error instanceof EctusError && error.code === "client_closed_request";
}

/** How a call ended whose signal was aborted: the client left, or this server stopped. */
export function abortedOutcome(signal: AbortSignal): Ending["outcome"] {
  return isAborted(signal.reason) ? "client_closed" : "interrupted";
}

/**
 * Ends the account of a call that brought no answer, and throws what the client is told.
 *
 * A provider that had been asked when the client left works, and is paid, all the same. Where it does not say what was
 * used by then, the budget is charged what was reserved, or clients could ask for free by leaving just before the end.
 */
export async function endFailedCall(account: Account, error: unknown, signal: AbortSignal): Promise<never> {
  const { provider, usage } = error instanceof EctusError && isAborted(error) ? error.details : {};
  if (typeof provider === "string") {
    const answeredBy = { provider, providerModel: "" };
    const used = toTokenUsage(usage as CompletionUsage | undefined);
    await account.settle({ answeredBy, outcome: abortedOutcome(signal), usage: used });
  } else {
    account.drop();
  }
  throw isAborted(error) && signal.aborted ? signal.reason : error;
}
