import { expect, test } from "vitest";
import { firstError } from "./first-error.ts";

test("what failed first is found behind what failed while things were closed", async () => {
  const thrown = await (async () => {
    await using opened = new AsyncDisposableStack();
    opened.defer(() => Promise.reject(new Error("closing the first")));
    opened.defer(() => Promise.reject(new Error("closing the second")));
    throw new Error("the work");
  })().catch((error: unknown) => error);
  expect(thrown).toBeInstanceOf(SuppressedError);
  expect(firstError(thrown)).toEqual(new Error("the work"));
  expect(firstError("as it is")).toBe("as it is");
});
