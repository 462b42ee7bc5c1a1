// Runs the example of the package's README against an upstream double.
import { readFile } from "node:fs/promises";
import type { Logger } from "@ectus/core";
import { expect, test } from "vitest";
import { startUpstream } from "../../../tests/openai-upstream/upstream.ts";
import { costUsd, createEngine, createProviders, parseProviders } from "./index.ts";

const exported: Record<string, unknown> = { costUsd, createEngine, createProviders, parseProviders };

test("the example of the README runs and prints what it says", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const code = /```ts run\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  const names = /^import \{ (.*) \} from "@ectus\/ai-engine";$/m.exec(code)?.[1]?.split(", ") ?? [];
  const body = code.replace(/^import .*$/m, "");
  const upstream = await startUpstream();
  const lines: string[] = [];
  try {
    const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
    const run = new AsyncFunction("baseUrl", "log", "print", ...names, body);
    await run(
      upstream.baseUrl,
      { warn() {} } as unknown as Logger,
      (...values: unknown[]) => lines.push(values.join(" ")),
      ...names.map((name) => exported[name]),
    );
  } finally {
    await upstream.close();
  }
  expect(readme).toContain(`writes \`${lines[0]}\``);
  expect(lines.slice(1).join("")).toBe("Hello, world");
});
