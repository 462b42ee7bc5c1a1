import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import { errorTypeOf } from "./error-type.ts";

class Odd extends Error {}
Object.defineProperty(Odd, "name", { value: "a@example.org" });

test.each([
  [new EctusError("storage_full"), "storage_full"],
  [Object.assign(new Error("EIO: i/o error"), { code: "EIO" }), "EIO"],
  [Object.assign(new Error("division by zero"), { code: "22012" }), "22012"],
  [new RangeError("of someone@example.org"), "RangeError"],
  [Object.assign(new Error("x"), { code: "someone@example.org" }), "_OTHER"],
  [Object.assign(new Error("x"), { code: 17 }), "Error"],
  [new Odd("x"), "_OTHER"],
  ["text", "_OTHER"],
  [undefined, "_OTHER"],
])("%s is %s", (error, type) => {
  expect(errorTypeOf(error)).toBe(type);
});
