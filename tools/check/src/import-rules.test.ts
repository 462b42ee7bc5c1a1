import { expect, test } from "vitest";
import { checkImports } from "./import-rules.ts";
import { createSmallProject } from "./small-project.ts";

test.each([
  ["packages/core/src/a.ts", 'import { x } from "@ectus/database";', /a\.ts:1: .*core may import no other/],
  ["packages/core/src/a.ts", 'import type { x } from "@ectus/database";', /core may import no other/],
  ["packages/core/src/a.ts", 'export * from "@ectus/database";', /core may import no other/],
  ["packages/core/src/a.ts", 'export const x = await import("@ectus/database");', /core may import no other/],
  ["packages/core/src/a.ts", 'export type X = import("@ectus/database").X;', /core may import no other/],
  ["packages/core/src/a.ts", '// why\nimport "@ectus/core";', /a\.ts:2: .*own files by path/],
  [
    "packages/database/src/a.ts",
    'import "../../core/src/answer.ts";',
    /may not reach into files of packages\/core/,
  ],
  ["packages/database/src/a.ts", 'import "@ectus/core/src/answer.ts";', /"exports" .* does not offer it/],
  ["packages/database/src/a.ts", 'import "@ectus/nothing";', /no workspace is called @ectus\/nothing/],
  [
    "packages/database/src/a.ts",
    'import "../../../tests/postgres/x.ts";',
    /may not reach into files of tests/,
  ],
  ["packages/database/src/a.ts", 'import "@ectus/peers";', /only tests of a package may import tools/],
  [
    "tests/a.ts",
    'import "../packages/core/src/answer.ts";',
    /tests may not reach into files of packages\/core/,
  ],
  ["bench/a.ts", 'import "../packages/core/src/answer.ts";', /bench may not reach/],
  ["tools/peers/src/a.ts", 'import "../../../packages/core/src/answer.ts";', /tools\/peers may not reach/],
])("%s with the line %s is refused", async (path, content, fault) => {
  await using project = await createSmallProject();
  await project.write("tools/peers/package.json", '{"name":"@ectus/peers","exports":{".":"./src/index.ts"}}');
  await project.write(path, `${content}\n`);
  const faults = await checkImports(project.root);
  expect(faults).toEqual([expect.stringMatching(fault)]);
});

test.each([
  ["packages/database/src/a.ts", 'import "@ectus/core";'],
  ["packages/database/src/a.ts", 'import "./index.ts"; import "node:fs"; import "pg";'],
  ["packages/database/src/a.test.ts", 'import "../../../tests/postgres/x.ts"; import "@ectus/peers";'],
  ["tests/a.ts", 'import "@ectus/database";'],
  ["tests/integration/a.ts", 'import "../postgres/x.ts";'],
  ["bench/a.ts", 'import "@ectus/database"; import "../tests/postgres/x.ts";'],
  ["tools/peers/src/a.ts", 'import "@ectus/core";'],
  ["packages/core/src/a.ts", 'export const text = "import x from @ectus/database";'],
])("%s with the line %s is allowed", async (path, content) => {
  await using project = await createSmallProject();
  await project.write("tools/peers/package.json", '{"name":"@ectus/peers","exports":{".":"./src/index.ts"}}');
  await project.write(path, `${content}\n`);
  expect(await checkImports(project.root)).toEqual([]);
});

test("metrics are made in one place only", async () => {
  await using project = await createSmallProject();
  await project.write("packages/metrics/package.json", '{"name":"@ectus/metrics","exports":{".":"./x.ts"}}');
  await project.write("packages/monitoring/package.json", '{"name":"@ectus/monitoring"}');
  await project.write("packages/monitoring/src/a.ts", 'import { Counter } from "@ectus/metrics";\n');
  expect(await checkImports(project.root)).toEqual([]);
  await project.write("packages/database/src/a.ts", 'import { Counter } from "@ectus/metrics";\n');
  expect(await checkImports(project.root)).toEqual([
    expect.stringMatching(/database\/src\/a\.ts:1: .*add the metric to the catalogue/),
  ]);
});

test("a package without a place in the layers is named", async () => {
  await using project = await createSmallProject();
  await project.write("packages/extra/package.json", '{"name":"@ectus/extra"}');
  expect(await checkImports(project.root)).toEqual([expect.stringContaining("packages/extra: has no place")]);
});
