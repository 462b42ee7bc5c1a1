import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkObjectiveRules, writeObjectiveRules } from "./objective-rules.ts";
import { createSmallProject } from "./small-project.ts";

const checkout = join(import.meta.dirname, "..", "..", "..");
const path = "k8s/prometheus/objective-rules.yaml";

test("the objective's rules are what the code makes", async () => {
  expect(await checkObjectiveRules(checkout)).toEqual([]);
});

test("rules that were changed by hand are found, and made anew", async () => {
  await using project = await createSmallProject();
  expect(await checkObjectiveRules(project.root)).toEqual([]);
  await cp(join(checkout, path), join(project.root, path), { recursive: true });
  const sound = await readFile(join(project.root, path), "utf8");
  await writeFile(join(project.root, path), sound.replace("14.4 *", "20 *"));
  expect(await checkObjectiveRules(project.root)).toEqual([
    `${path}: is not what the code makes; run: node tools/check/generated.ts --write`,
  ]);
  expect(await writeObjectiveRules(project.root)).toEqual([path]);
  expect(await readFile(join(project.root, path), "utf8")).toBe(sound);
  expect(await writeObjectiveRules(project.root)).toEqual([]);
});
