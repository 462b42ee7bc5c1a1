// What tests do where the model is missing.
import { expect, test } from "vitest";
import { modelForTests } from "./test-model.ts";

test("a missing model is said loudly, with the command that gets it", async () => {
  const said: string[] = [];
  expect(await modelForTests([], {}, (text) => said.push(text))).toBeUndefined();
  expect(said.join("")).toContain("npm run peers model");
});

test("with CI=true a missing model is a failure", async () => {
  await expect(modelForTests([], { CI: "true" })).rejects.toThrow("npm run peers model");
});
