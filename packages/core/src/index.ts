export * from "./api-key.ts";
export * from "./config.ts";
export { type ErrorCode, type ErrorDetails, type ErrorType, errorCodes } from "./error-codes.ts";
export { EctusError, type ErrorBody, errorMessage } from "./errors.ts";
export * from "./logging.ts";
export * from "./request-context.ts";
export { parseTraceparent, type Traceparent } from "./traceparent.ts";
export { newUuid } from "./uuid.ts";
