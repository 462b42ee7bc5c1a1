import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCodes, variables } from "@ectus/core";
import { expect, test } from "vitest";
import { configTable } from "./config-table.ts";
import { checkErrorsDoc, checkGeneratedBlocks, writeErrorsDoc, writeGeneratedBlocks } from "./docs.ts";
import { errorsTable, listedCodes } from "./errors-table.ts";
import { createSmallProject } from "./small-project.ts";

test("the table of errors lists every code with the facts of its message in braces", () => {
  const table = errorsTable(errorCodes);
  expect([...listedCodes(table)]).toEqual(Object.keys(errorCodes));
  expect(table).toContain(
    "| `upstream_timeout` | 504 | `server_error` | The provider '{provider}' did not answer within {timeoutMs} ms. |",
  );
});

test("the table of variables lists every variable, marks secrets and escapes bars", () => {
  const table = configTable(variables);
  for (const name of Object.keys(variables)) expect(table).toContain(`| \`${name}\` |`);
  const secret = { X_KEY: { help: "a | b", accepts: "text", secret: true } };
  expect(configTable(secret)).toContain("| `X_KEY` |  | text (secret) | a \\| b |");
});

test("a code that is new, one that is gone and one that changed are each reported", async () => {
  await using project = await createSmallProject();
  const { internal_error: first, ...others } = errorCodes;
  expect(await checkErrorsDoc(project.root)).toEqual([]);
  expect(await checkErrorsDoc(project.root, { ...errorCodes, brand_new: first })).toEqual([
    expect.stringContaining("lacks the code brand_new"),
  ]);
  expect(await checkErrorsDoc(project.root, others)).toEqual([
    expect.stringContaining("lists internal_error, which is no code"),
  ]);
  const changed = { ...errorCodes, internal_error: { ...first, status: 501 } };
  expect(await checkErrorsDoc(project.root, changed)).toEqual([
    expect.stringContaining("another in the code"),
  ]);
});

test("writing docs/errors.md keeps the words around the table", async () => {
  await using project = await createSmallProject();
  const path = join(project.root, "docs/errors.md");
  await writeFile(path, "My words.\n<!-- generated:errors -->\n<!-- /generated -->\n");
  await writeErrorsDoc(project.root);
  expect(await readFile(path, "utf8")).toMatch(/^My words\.\n<!-- generated:errors -->\n\n\| Code/);
  expect(await checkErrorsDoc(project.root)).toEqual([]);
});

test("writing blocks changes the files that need it, and only them", async () => {
  await using project = await createSmallProject();
  await project.write("README.md", "<!-- generated:config -->\n<!-- /generated -->\n");
  await project.write("docs/plain.md", "plain\n");
  expect(await checkGeneratedBlocks(project.root)).toHaveLength(1);
  expect(await writeGeneratedBlocks(project.root)).toEqual(["README.md"]);
  expect(await checkGeneratedBlocks(project.root)).toEqual([]);
  expect(await writeGeneratedBlocks(project.root)).toEqual([]);
});
