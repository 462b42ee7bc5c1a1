// The one place where what was thrown becomes an answer in OpenAI's shape.
import { EctusError, type Logger } from "@ectus/core";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { validationFault } from "../validation-fault.ts";

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

export function addErrorHandler(app: FastifyInstance, log: Logger): void {
  app.setErrorHandler((error: FastifyError | EctusError, request, reply) => {
    sendError(reply, toEctusError(error, request), log);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split("?", 1)[0] as string;
    const accepts = methods.filter(
      (method) => app.findRoute({ method, url: path }) !== null || matches(app, method, path),
    );
    const error =
      accepts.length > 0
        ? new EctusError("method_not_allowed", { method: request.method, accepts: accepts.join(", ") })
        : new EctusError("unknown_url", { method: request.method, path });
    if (accepts.length > 0) reply.header("allow", accepts.join(", "));
    sendError(reply, error, log);
  });
}

function matches(app: FastifyInstance, method: (typeof methods)[number], url: string): boolean {
  return app.hasRoute({ method, url });
}

function sendError(reply: FastifyReply, error: EctusError, log: Logger): void {
  if (error.status >= 500) log.error({ err: error, cause: error.cause }, "request failed");
  const { retryAfterSeconds } = error.details;
  if (retryAfterSeconds !== undefined) reply.header("retry-after", String(Math.ceil(retryAfterSeconds)));
  reply.status(error.status).send(error.toBody());
}

/** What was thrown, as a coded error. */
export function toEctusError(error: unknown, request: FastifyRequest): EctusError {
  if (error instanceof EctusError) return error;
  const { code, validation } = error as FastifyError;
  if (validation !== undefined) return validationFault(error as FastifyError);
  switch (code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
    case "FST_REQ_FILE_TOO_LARGE":
      return new EctusError("request_too_large", { limitBytes: request.routeOptions.bodyLimit });
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
    case "FST_INVALID_MULTIPART_CONTENT_TYPE":
      return new EctusError("unsupported_media_type", {
        got: request.headers["content-type"],
        accepts: code === "FST_ERR_CTP_INVALID_MEDIA_TYPE" ? "application/json" : "multipart/form-data",
      });
    case "FST_ERR_CTP_EMPTY_JSON_BODY":
      return new EctusError("invalid_json", { reason: "it is empty" });
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return new EctusError("invalid_request", { reason: "The body is not as long as Content-Length says." });
    default:
      return new EctusError("internal_error", {}, { cause: error });
  }
}
