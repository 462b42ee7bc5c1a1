import { expect, test } from "vitest";
import { pageQuery } from "./schemas.ts";
import { createValidatorCompiler } from "./validator.ts";

const schema = { type: "object", properties: { limit: pageQuery(100, 20).limit } };
const check = (httpPart: string, limit: unknown) => {
  const data = { limit };
  const validate = createValidatorCompiler()({ schema, httpPart, method: "GET", url: "/" });
  return validate(data) === true ? data.limit : "refused";
};

test.each([
  ["7", 7],
  ["1e2", 100],
  ["101", "refused"],
  ["0", "refused"],
  ["1.5", "refused"],
  ["1e999", "refused"],
  ["-1e999", "refused"],
  ["NaN", "refused"],
  ["", "refused"],
])("the query's limit %j is %j", (text, read) => {
  expect(check("querystring", text)).toBe(read);
});

test.each([
  [7, 7],
  ["7", "refused"],
  [Number.POSITIVE_INFINITY, "refused"],
])("a body's limit %j is %j", (value, read) => {
  expect(check("body", value)).toBe(read);
});
