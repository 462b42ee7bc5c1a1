// How calls of the engine end, as metrics and spans say it.
import { EctusError } from "@ectus/core";
import { catalogue, type LabelsOf } from "@ectus/monitoring";

/** How a call ended. */
export type InferenceOutcome = LabelsOf<"ai_inference_requests_total">["outcome"];

/** Why a try failed. */
export type FailureReason = LabelsOf<"ai_inference_errors_total">["reason"];

/**
 * How a call ended that brought no answer.
 *
 * `overloaded` is a lack of room, here or upstream, that passes by itself or by more room. Circuits that are open are
 * no such thing but the trace of failures: counted as `overloaded`, they would end an alert on failed calls as soon as
 * they open, in the middle of an outage. So `provider_unavailable` is `failed`, as is a call that this server cut.
 */
export function outcomeWithoutAnswer(error: unknown, signal: AbortSignal): InferenceOutcome {
  if (signal.aborted) return isLeftByClient(signal) ? "client_closed" : "failed";
  if (!(error instanceof EctusError)) return "failed";
  switch (error.code) {
    case "client_closed_request":
      return "client_closed";
    case "overloaded":
    case "upstream_rate_limited":
      return "overloaded";
    default:
      return error.status < 500 ? "rejected" : "failed";
  }
}

/** How a stream ended that was not read to its end. */
export function outcomeOfCutStream(signal: AbortSignal): InferenceOutcome {
  return signal.aborted && isLeftByClient(signal) ? "client_closed" : "interrupted";
}

/** Whether an aborted signal means that the client left, not that this server stops. */
function isLeftByClient({ reason }: AbortSignal): boolean {
  return !(reason instanceof EctusError) || isClientClosed(reason);
}

export function isClientClosed(error: unknown): error is EctusError {
  return error instanceof EctusError && error.code === "client_closed_request";
}

const reasons: ReadonlySet<string> = new Set(catalogue.ai_inference_errors_total.labels.reason.values);

export function reasonOf(error: unknown): FailureReason {
  return error instanceof EctusError && reasons.has(error.code)
    ? (error.code as FailureReason)
    : "internal_error";
}
