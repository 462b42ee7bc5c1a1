// Reads JSON bodies, and notes how many bytes they had: the bound of the tokens in them.
import { EctusError, errorMessage } from "@ectus/core";
import type { FastifyInstance } from "fastify";

/** Enough for a conversation with a few pictures in it. */
export const mostJsonBytes = 16 * 1024 * 1024;

export function addJsonBody(app: FastifyInstance): void {
  app.decorateRequest("bodyBytes", 0);
  const parse = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser<string>("application/json", { parseAs: "string" }, (request, text, done) => {
    request.bodyBytes = Buffer.byteLength(text);
    if (text === "") {
      // A DELETE with a content type and no body is what some clients send.
      if (request.method === "DELETE") done(null, undefined);
      else done(new EctusError("invalid_json", { reason: "it is empty" }));
      return;
    }
    parse(request, text, (error, body) => {
      if (error === null || error === undefined) done(null, body);
      else done(new EctusError("invalid_json", { reason: errorMessage(error) }, { cause: error }));
    });
  });
}
