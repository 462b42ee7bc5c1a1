// The one error class of the platform, made from a code of error-codes.ts; mapped to HTTP in web-api and to an
// exit code in cli.
import { type ErrorCode, type ErrorDetails, type ErrorType, errorCodes } from "./error-codes.ts";

/** Body of an error answer, shaped as OpenAI's API shapes it, so that its clients raise their own error classes. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: ErrorType;
    readonly param: string | null;
    readonly code: string;
  };
}

/**
 * An error with a stable code. The message is made from the code's template and `details`, says what was wrong and
 * what to do, and never holds a secret. `details.param` names the request field; `details.retryAfterSeconds` becomes
 * the `Retry-After` header.
 */
export class EctusError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(errorCodes[code].message(details), options);
    this.name = "EctusError";
    this.code = code;
    this.details = details;
  }

  /** HTTP status that answers this error. */
  get status(): number {
    return errorCodes[this.code].status;
  }

  /** OpenAI-shaped body that answers this error. */
  toBody(): ErrorBody {
    const { type } = errorCodes[this.code];
    return { error: { message: this.message, type, param: this.details.param ?? null, code: this.code } };
  }
}

/** The message of anything that was thrown. */
export function errorMessage(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
