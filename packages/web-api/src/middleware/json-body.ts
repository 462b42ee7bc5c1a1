// Reads JSON bodies, and notes how many bytes they had: the bound of the tokens in them.
import { EctusError, errorMessage } from "@ectus/core";
import type { FastifyInstance } from "fastify";

/** Enough for a conversation with a few pictures in it. */
export const mostJsonBytes = 16 * 1024 * 1024;
// What reads JSON after the parser (JSON.stringify, PostgreSQL) goes down one stack frame a level.
const mostLevels = 256;

export function addJsonBody(app: FastifyInstance): void {
  app.decorateRequest("bodyBytes", 0);
  // Fastify's own reader of text would let a text pass as a body.
  app.removeContentTypeParser("text/plain");
  app.addContentTypeParser<string>("application/json", { parseAs: "string" }, (request, text, done) => {
    request.bodyBytes = Buffer.byteLength(text);
    // A DELETE with a content type and no body is what some clients send.
    if (text === "" && request.method === "DELETE") {
      done(null, undefined);
      return;
    }
    let body: unknown;
    try {
      body = parse(text);
    } catch (error) {
      done(error as Error);
      return;
    }
    done(null, body);
  });
}

function parse(text: string): unknown {
  if (text === "") throw invalid("it is empty");
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw invalid(placeOf(errorMessage(error)));
  }
  const fault = isContainer(body) ? findFault(body, 1) : undefined;
  if (fault !== undefined) throw invalid(fault);
  return body;
}

const invalid = (reason: string): EctusError => new EctusError("invalid_json", { reason });

// The parser quotes what it cannot read, which can be a part of a prompt: its place is enough.
function placeOf(message: string): string {
  const position = /at position \d+( \(line \d+ column \d+\))?/.exec(message)?.[0];
  if (position !== undefined) return `it cannot be read ${position}`;
  return message.includes("end of JSON") ? "it ends too early" : "it has a character that cannot stand there";
}

/** What is wrong with a value that JSON can say; it goes down no further than is accepted. */
function findFault(container: object, level: number): string | undefined {
  if (level > mostLevels) return `it is nested deeper than ${mostLevels} levels`;
  if (changesPrototypes(container)) return "it has a field that would change prototypes";
  for (const member of Array.isArray(container) ? container : Object.values(container)) {
    if (!isContainer(member)) continue;
    const fault = findFault(member, level + 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

const isContainer = (value: unknown): value is object => typeof value === "object" && value !== null;

// JSON.parse makes such fields as any others; code that copies them one by one would not.
function changesPrototypes(container: object): boolean {
  if (Object.hasOwn(container, "__proto__")) return true;
  const made = Object.hasOwn(container, "constructor") && (container as { constructor: unknown }).constructor;
  return isContainer(made) && Object.hasOwn(made, "prototype");
}
