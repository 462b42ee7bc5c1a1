import { expect, test } from "vitest";
import { judgeDataMap } from "./data-map.ts";

test("a data map that fits is well", () => {
  expect(judgeDataMap([])).toMatchObject({ name: "data map", status: "ok", fix: null });
});

test("every fault is told, each on a line of its own, and what it keeps from working", () => {
  expect(judgeDataMap(["The table a is new.", "The table b is gone."])).toMatchObject({
    name: "data map",
    status: "fail",
    detail: "The table a is new.\nThe table b is gone.",
    fix: expect.stringContaining("Exports are refused"),
  });
});
