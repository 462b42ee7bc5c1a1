// Runs the examples of packages whose own tests do not.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as alerting from "@ectus/alerting";
import * as core from "@ectus/core";
import * as drills from "@ectus/drills";
import * as metrics from "@ectus/metrics";
import * as monitoring from "@ectus/monitoring";
import * as onCall from "@ectus/on-call";
import * as storage from "@ectus/storage";
import { afterEach, beforeEach, expect, test } from "vitest";
import { fencedBlocks } from "./fenced-blocks.ts";

const root = join(import.meta.dirname, "..", "..");
const modules: Record<string, object> = {
  "@ectus/alerting": alerting,
  "@ectus/core": core,
  "@ectus/drills": drills,
  "@ectus/metrics": metrics,
  "@ectus/monitoring": monitoring,
  "@ectus/on-call": onCall,
  "@ectus/storage": storage,
  "node:fs": await import("node:fs"),
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-readmes-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** Runs the block `ts run` of a package's README. Gives what it printed, and the README. */
async function runExample(
  name: string,
  values: Record<string, unknown>,
  replace: Record<string, string> = {},
): Promise<{ readonly readme: string; readonly lines: readonly string[] }> {
  const readme = await readFile(join(root, "packages", name, "README.md"), "utf8");
  let code = fencedBlocks(readme).find(({ info }) => info === "ts run")?.code ?? "";
  const lines: string[] = [];
  const scope: Record<string, unknown> = {
    ...values,
    print: (...told: unknown[]) => lines.push(told.join(" ")),
  };
  code = code.replace(/^import \{ (.*) \} from "(.*)";$/gm, (_, names: string, from: string) => {
    for (const one of names.split(", ")) scope[one] = Reflect.get(modules[from] ?? {}, one);
    return "";
  });
  for (const [shown, here] of Object.entries(replace)) {
    expect(code).toContain(shown);
    code = code.replaceAll(shown, here);
  }
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
  await new AsyncFunction(...Object.keys(scope), code)(...Object.values(scope));
  return { readme, lines };
}

test("the example of the storage runs and prints what it says", async () => {
  await writeFile(join(folder, "report.pdf"), "x".repeat(3_000));
  const { readme, lines } = await runExample(
    "storage",
    {
      tenantId: "01990000-0000-7000-8000-000000000000",
      fileId: "01990000-0000-7000-8000-000000000001",
      signal: new AbortController().signal,
    },
    {
      "file:///var/lib/ectus/files": pathToFileURL(join(folder, "files")).href,
      "report.pdf": join(folder, "report.pdf"),
    },
  );
  expect(lines).toHaveLength(2);
  expect(readme).toContain(`it prints ${lines.map((line) => `\`${line}\``).join(" and then ")}.`);
});

test.each(["alerting", "drills"])("the example of %s runs and prints what it says", async (name) => {
  const { readme, lines } = await runExample(name, {});
  const [printed] = fencedBlocks(readme).filter(({ info }) => info === "text");
  expect(lines.join("\n")).toBe(printed?.code.trim());
});

test("the example of core runs and prints what it says", async () => {
  const written: string[] = [];
  const { readme, lines } = await runExample("core", {
    destination: { write: (line: string) => written.push(line) },
  });
  for (const line of lines) expect(readme).toContain(`\`${line}\``);
  expect(lines).toHaveLength(2);
  expect(written.map((line) => JSON.parse(line).correlationId)).toEqual(["order-17"]);
});

test("the example of the metrics runs and prints what it says", async () => {
  const { readme, lines } = await runExample("metrics", {});
  const [printed] = fencedBlocks(readme).filter(({ info }) => info === "text");
  expect(lines.join("\n").trim()).toBe(printed?.code.trim());
});

test("the example of on-call runs and prints what it says", async () => {
  const file = "docs/operations/contacts.yaml";
  const { readme, lines } = await runExample("on-call", {}, { [file]: join(root, file) });
  const [printed] = fencedBlocks(readme).filter(({ info }) => info === "text");
  expect(lines.join("\n").trim()).toBe(printed?.code.trim());
});

test("the example of the monitoring runs and prints what it says", async () => {
  const logging = core.createLogging({ levels: { default: "error", modules: {} }, format: "json" });
  const { readme, lines } = await runExample("monitoring", { log: logging.module("metrics") });
  expect(lines).toHaveLength(1);
  expect(readme).toContain(`It prints \`${lines[0]}\`.`);
});
