import { expect, test } from "vitest";
import { errorCodes } from "./error-codes.ts";
import { EctusError, errorMessage } from "./errors.ts";

test("an error carries its code, status, message and an OpenAI-shaped body", () => {
  const cause = new Error("why");
  const error = new EctusError("model_not_found", { model: "gpt-x", param: "model" }, { cause });
  expect(error).toMatchObject({ name: "EctusError", code: "model_not_found", status: 404, cause });
  expect(error.toBody()).toEqual({
    error: {
      message: "The model 'gpt-x' does not exist here. GET /v1/models lists those that do.",
      type: "invalid_request_error",
      param: "model",
      code: "model_not_found",
    },
  });
});

test("param is null where no field is at fault", () => {
  expect(new EctusError("internal_error").toBody().error.param).toBeNull();
});

test.each(Object.keys(errorCodes) as (keyof typeof errorCodes)[])(
  "%s has an error status and a message that holds without details",
  (code) => {
    const { status, message } = errorCodes[code];
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(600);
    expect(message({}).length).toBeGreaterThan(0);
  },
);

test("anything that was thrown has a message", () => {
  expect(errorMessage(new Error("bad"))).toBe("bad");
  expect(errorMessage("bare")).toBe("bare");
  expect(errorMessage(undefined)).toBe("undefined");
});
