// Runs the example of the package's README.
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import pg from "pg";
import { expect, inject, test } from "vitest";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { app, owner, urlAs } from "../../../tests/postgres/template.ts";
import { createTenant, listTenants, migrate, openDatabase, ownerRole } from "./index.ts";

const exported: Record<string, unknown> = { createTenant, listTenants, migrate, openDatabase };

test("the example of the README runs and prints what it says", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const code = /```ts run\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  const names = /^import \{ (.*) \} from "@ectus\/database";$/m.exec(code)?.[1]?.split(", ") ?? [];
  const superuser = new pg.Client({ connectionString: inject("superuserUrl") });
  await superuser.connect();
  const name = `test_${randomBytes(6).toString("hex")}`;
  await superuser.query(`create database ${name} owner ${ownerRole}`);
  const lines: string[] = [];
  try {
    const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
    const run = new AsyncFunction(
      "ownerUrl",
      "appUrl",
      "log",
      "print",
      ...names,
      code.replace(/^import .*$/m, ""),
    );
    await run(
      urlAs(inject("superuserUrl"), owner, name),
      urlAs(inject("superuserUrl"), app, name),
      recordingLog().log,
      (...values: unknown[]) => lines.push(values.join(" ")),
      ...names.map((one) => exported[one]),
    );
  } finally {
    await superuser.query(`drop database ${name} with (force)`);
    await superuser.end();
  }
  expect(names).toHaveLength(4);
  expect(readme).toContain(`prints \`${lines[0]}\` and \`${lines[1]}\``);
  expect(lines).toHaveLength(2);
});
