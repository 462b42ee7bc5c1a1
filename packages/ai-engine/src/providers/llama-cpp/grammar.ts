// The grammar that a request's response_format asks for. It admits no text after the JSON value, so that the model's
// only way on is to end.
import { EctusError, errorMessage } from "@ectus/core";
import type { Llama, LlamaGrammar } from "node-llama-cpp";
import type { ResponseFormat } from "../../chat.ts";
import { toGrammarSchema } from "./json-schema.ts";

// Any JSON object (RFC 8259). White space is at most one character between tokens: a small model that may write more
// of it writes nothing else.
const jsonObjectGrammar = String.raw`
root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" space (member ("," space member)*)? "}"
member ::= string ":" space value
array ::= "[" space (value ("," space value)*)? "]"
string ::= "\"" character* "\""
character ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?
space ::= " "?
`;

// What the library's generator appends to its root rule: four line ends, by which its own chat session knows the end.
const appendedEnd = String.raw` "\n\n\n\n" [\n]*`;

/** @throws EctusError `invalid_request` when the format cannot be had from a grammar */
export async function createResponseGrammar(
  llama: Llama,
  format: ResponseFormat,
): Promise<LlamaGrammar | undefined> {
  switch (format.type) {
    case "text":
      return undefined;
    case "json_object":
      return await llama.createGrammar({ grammar: jsonObjectGrammar });
    case "json_schema": {
      const schema = toGrammarSchema(format.json_schema.schema ?? {});
      try {
        const { grammar } = await llama.createGrammarForJsonSchema(schema);
        return await llama.createGrammar({ grammar: grammar.replace(appendedEnd, "") });
      } catch (error) {
        throw new EctusError(
          "invalid_request",
          {
            param: "response_format",
            reason: `No grammar can be made from response_format.json_schema.schema: ${errorMessage(error)}`,
          },
          { cause: error },
        );
      }
    }
    default: {
      const unknown: { readonly type: string } = format;
      throw new EctusError("invalid_request", {
        param: "response_format",
        reason: `The response_format type '${unknown.type}' is not supported; text, json_object and json_schema are.`,
      });
    }
  }
}
