// Runs the example of the package's README.
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { startApi } from "../../../tests/api/start-api.ts";
import { startServer } from "./index.ts";

test("the example of the README runs and prints what it says", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const code = /```ts run\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  expect(code).toContain('import { startServer } from "@ectus/web-api";');
  await using api = await startApi();
  const { database, storage, engine, logging } = api.serverOptions;
  const lines: string[] = [];
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
  const run = new AsyncFunction(
    ...["startServer", "database", "storage", "engine", "logging", "print"],
    code.replace(/^import .*$/m, ""),
  );
  await run(startServer, database, storage, engine, logging, (...values: unknown[]) =>
    lines.push(values.join(" ")),
  );
  expect(readme).toContain(`It prints \`${lines[0]}\``);
});
