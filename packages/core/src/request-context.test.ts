import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { currentContext, runInContext } from "./request-context.ts";

test("there is no context outside of a request", () => {
  expect(currentContext()).toBeUndefined();
});

test("the context survives awaits and does not leak into work beside it", async () => {
  const seen = await Promise.all(
    ["a", "b"].map((id) =>
      runInContext({ correlationId: id, requestId: id }, async () => {
        await nextTurn();
        return currentContext()?.correlationId;
      }),
    ),
  );
  expect(seen).toEqual(["a", "b"]);
  expect(currentContext()).toBeUndefined();
});
