// What may be logged of an error: never what a request or an answer said.
import { EctusError } from "@ectus/core";

/**
 * The fields of a log line about an error.
 *
 * Of a provider's error only the facts are kept: its message may repeat a part of the prompt, and the client, whose
 * prompt it is, gets to see it. Of any other error the stack is kept, in which its causes are.
 */
export function loggableError(error: unknown): object {
  if (!(error instanceof EctusError) || error.details.provider === undefined) return { err: error };
  const { provider, upstreamStatus, timeoutMs } = error.details;
  return { code: error.code, provider, upstreamStatus, timeoutMs };
}
