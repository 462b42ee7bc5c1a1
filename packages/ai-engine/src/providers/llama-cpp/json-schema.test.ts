// Which schemas a grammar is made of, and which are refused by name.
import { EctusError } from "@ectus/core";
import { describe, expect, test } from "vitest";
import { toGrammarSchema } from "./json-schema.ts";

describe("toGrammarSchema", () => {
  test.each([
    ["a scalar", { type: "string" }, { type: "string" }],
    ["annotations", { type: "null", title: "t", description: "d", $schema: "s" }, { type: "null" }],
    [
      "lengths",
      { type: "string", minLength: 1, maxLength: 3 },
      { type: "string", minLength: 1, maxLength: 3 },
    ],
    ["a format", { type: "string", format: "date" }, { type: "string", format: "date" }],
    ["an enum", { type: "string", enum: ["a", "b"] }, { enum: ["a", "b"] }],
    ["a constant", { const: 3 }, { const: 3 }],
    ["several types", { type: ["integer", "null"] }, { oneOf: [{ type: "integer" }, { type: "null" }] }],
    ["anyOf", { anyOf: [{ type: "null" }, { const: 1 }] }, { oneOf: [{ type: "null" }, { const: 1 }] }],
    [
      "an array",
      { type: "array", items: { type: "number" }, minItems: 1, maxItems: 2 },
      { type: "array", items: { type: "number" }, minItems: 1, maxItems: 2 },
    ],
    [
      "an object",
      {
        type: "object",
        properties: { a: { type: "boolean" } },
        required: ["a"],
        additionalProperties: false,
      },
      { type: "object", properties: { a: { type: "boolean" } } },
    ],
    [
      "a map",
      { type: "object", additionalProperties: { type: "integer" } },
      { type: "object", properties: {}, additionalProperties: { type: "integer" } },
    ],
    [
      "a definition that holds itself",
      { $ref: "#/$defs/tree", $defs: { tree: { type: "array", items: { $ref: "#/$defs/tree" } } } },
      { $ref: "#/$defs/tree", $defs: { tree: { type: "array", items: { $ref: "#/$defs/tree" } } } },
    ],
  ])("%s is taken", (_name, schema, expected) => {
    expect(toGrammarSchema(schema)).toEqual(expected);
  });

  test.each([
    [
      "a keyword that a grammar cannot enforce",
      { type: "string", pattern: "a+" },
      "#: the keyword 'pattern'",
    ],
    [
      "the same, deep inside",
      { type: "object", properties: { a: { type: "array", items: { type: "number", minimum: 1 } } } },
      "#/properties/a/items: the keyword 'minimum'",
    ],
    ["allOf", { allOf: [{ type: "string" }] }, "a schema without type"],
    ["a schema that says nothing", {}, "a schema without type"],
    ["true", { type: "array", items: true }, "#/items: a schema must be an object"],
    ["no object at all", 7, "a schema must be an object"],
    ["an unknown type", { type: "date" }, `the type "date" is not supported`],
    ["an empty list of types", { type: [] }, "#/type: must be a list that is not empty"],
    ["an array of anything", { type: "array" }, "an array without items"],
    ["an unknown format", { type: "string", format: "email" }, `the format "email" is not supported`],
    [
      "too long a text",
      { type: "string", maxLength: 5_000 },
      "maxLength must be a whole number from 0 to 1000",
    ],
    ["bounds the wrong way round", { type: "string", minLength: 2, maxLength: 1 }, "minLength is larger"],
    ["an empty enum", { enum: [] }, "#/enum: must be a list that is not empty"],
    ["an object in an enum", { enum: [{}] }, "#/enum/0: only strings, numbers"],
    ["properties that are no object", { type: "object", properties: [] }, "#/properties: must be an object"],
    [
      "a required property that is not described",
      { type: "object", properties: {}, required: ["a"] },
      `#/required: "a" is not one of the properties`,
    ],
    ["required that is no list", { type: "object", required: true }, "#/required: true"],
    ["a reference to nowhere", { $ref: "#/$defs/a" }, "$ref must name one of the schema's $defs"],
    ["a reference elsewhere", { $ref: "https://example.com", $defs: {} }, "$ref must name"],
    [
      "definitions below the root",
      { type: "array", items: { type: "null", $defs: {} } },
      "#/items: the keyword '$defs'",
    ],
    [
      "a definition that is only itself",
      {
        $ref: "#/$defs/a",
        $defs: { a: { anyOf: [{ $ref: "#/$defs/b" }, { type: "null" }] }, b: { $ref: "#/$defs/a" } },
      },
      "refers to itself without end",
    ],
  ])("%s is refused, with the place", (_name, schema, message) => {
    expect(() => toGrammarSchema(schema)).toThrow(EctusError);
    expect(() => toGrammarSchema(schema)).toThrow(message);
    expect(() => toGrammarSchema(schema)).toThrow(/response_format\.json_schema\.schema/);
  });

  test("a schema that is too deep or too large is refused", () => {
    let deep: object = { type: "null" };
    for (let level = 0; level < 40; level += 1) deep = { type: "array", items: deep };
    expect(() => toGrammarSchema(deep)).toThrow("more than 32 levels");
    const wide = { oneOf: Array.from({ length: 600 }, () => ({ type: "null" })) };
    expect(() => toGrammarSchema(wide)).toThrow("more than 500 subschemas");
    const values = { enum: Array.from({ length: 600 }, (_value, index) => index) };
    expect(() => toGrammarSchema({ oneOf: [values, values] })).toThrow("more than 1000 enum values");
  });
});
