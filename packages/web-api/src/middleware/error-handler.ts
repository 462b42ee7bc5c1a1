// The one place where what was thrown becomes an answer in OpenAI's shape.
import { EctusError, type Logger } from "@ectus/core";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { loggableError } from "../loggable-error.ts";
import type { RouteTable } from "../route-table.ts";
import { validationFault } from "../validation-fault.ts";
import { drainRefusedBody } from "./refused-body.ts";
import { noteError } from "./request-outcome.ts";

const mostShownPath = 200;

export function addErrorHandler(app: FastifyInstance, routes: RouteTable, log: Logger): void {
  app.setErrorHandler((error: FastifyError | EctusError, request, reply) => {
    sendError(request, reply, toEctusError(error, request), log);
  });
  // Files of the docs that are not there.
  app.setNotFoundHandler((request, reply) => {
    sendError(request, reply, unknownUrl(request), log);
  });
  // Before the body is read: nothing in it can make the URL known.
  app.addHook("onRequest", (request, reply, done) => {
    // RFC 9112, section 3.2; the server itself would answer in a shape of its own.
    if (request.raw.httpVersion === "1.1" && request.headers.host === undefined) {
      done(new EctusError("malformed_request"));
    } else if (request.is404) {
      done(unknownRoute(request, reply, routes));
    } else {
      done();
    }
  });
}

/** Answers with an error. */
export function sendError(
  request: FastifyRequest,
  reply: FastifyReply,
  error: EctusError,
  log: Logger,
): void {
  noteError(reply.raw, error);
  if (error.status >= 500) log.error(loggableError(error), "request failed");
  setErrorHeaders(reply, error);
  drainRefusedBody(request.raw);
  // The framework would close the connection after a body that it could not read; here the rest of it is read.
  if (reply.hasHeader("connection") && error.code !== "shutting_down") {
    reply.header("connection", reply.raw.shouldKeepAlive ? "keep-alive" : "close");
  }
  reply.status(error.status).send(error.toBody());
}

function setErrorHeaders(reply: FastifyReply, { code, details }: EctusError): void {
  const { retryAfterSeconds, limit, unit } = details;
  if (retryAfterSeconds !== undefined) reply.header("retry-after", String(Math.ceil(retryAfterSeconds)));
  if (code === "rate_limit_exceeded") {
    // The names that OpenAI's API uses.
    reply.header(`x-ratelimit-limit-${unit}`, String(limit));
    reply.header(`x-ratelimit-remaining-${unit}`, "0");
    reply.header(`x-ratelimit-reset-${unit}`, `${retryAfterSeconds}s`);
  }
  // OpenAI's clients try again on 429 unless this tells them that it is of no use.
  if (code === "insufficient_quota") reply.header("x-should-retry", "false");
}

function unknownRoute(request: FastifyRequest, reply: FastifyReply, routes: RouteTable): EctusError {
  const accepts = routes.methodsOf(pathOf(request)).join(", ");
  if (accepts === "") return unknownUrl(request);
  reply.header("allow", accepts);
  return new EctusError("method_not_allowed", { method: request.method, accepts });
}

function unknownUrl(request: FastifyRequest): EctusError {
  return new EctusError("unknown_url", {
    method: request.method,
    path: pathOf(request).slice(0, mostShownPath),
  });
}

/** Without the query, which may hold what is not to be repeated. */
const pathOf = ({ url }: FastifyRequest): string => url.split("?", 1)[0] as string;

/** What was thrown, as a coded error. */
export function toEctusError(error: unknown, request: FastifyRequest): EctusError {
  if (error instanceof EctusError) return error;
  const { code, validation, statusCode } = error as FastifyError;
  if (validation !== undefined) return validationFault(error as FastifyError);
  switch (code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new EctusError("request_too_large", { limitBytes: request.routeOptions.bodyLimit });
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new EctusError("unsupported_media_type", {
        got: request.headers["content-type"],
        accepts: "application/json",
      });
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return new EctusError("invalid_request", { reason: "The body is not as long as Content-Length says." });
    case "FST_ERR_BAD_URL":
      return new EctusError("invalid_request", {
        reason: "The URL is not valid: a percent sign is not followed by two hexadecimal digits of UTF-8.",
      });
    case "FST_ERR_MAX_PARAM_LENGTH":
      return unknownUrl(request);
    case "ECONNRESET":
      return new EctusError("client_closed_request", {}, { cause: error });
    default:
      // What serves the files of the docs refuses paths that lead out of them.
      if (statusCode === 403 || statusCode === 404) return unknownUrl(request);
      return new EctusError("internal_error", {}, { cause: error });
  }
}
