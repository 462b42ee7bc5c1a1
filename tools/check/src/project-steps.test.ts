import { expect, test } from "vitest";
import { projectSteps } from "./project-steps.ts";
import { createSmallProject } from "./small-project.ts";

async function faultsOf(root: string, stepName: RegExp): Promise<string> {
  const step = projectSteps(root).find(({ name }) => stepName.test(name));
  if (step === undefined) throw new Error(`no step ${stepName}`);
  return (await step.run()).join("\n");
}

test("a project without mistakes passes every step", async () => {
  await using project = await createSmallProject();
  for (const { name, run } of projectSteps(project.root)) {
    expect({ name, faults: await run() }).toEqual({ name, faults: [] });
  }
});

test.each([
  ["types", "packages/core/src/answer.ts", 'export const answer: number = "42";\n', "TS2322"],
  ["biome", "packages/core/src/answer.ts", "export const answer = 42; console.log(answer);\n", "noConsole"],
  ["biome", "packages/core/src/answer.ts", "export const answer: any = 42;\n", "noExplicitAny"],
  ["biome", "packages/core/src/answer.ts", "export const answer=42;\n", "format"],
  ["knip", "packages/core/src/answer.ts", "export const answer = 42;\nexport const unused = 1;\n", "unused"],
  ["knip", "packages/core/src/alone.ts", "export const alone = 1;\n", "packages/core/src/alone.ts"],
  ["knip", "packages/core/src/index.ts", 'export * from "./answer.ts";\nexport const idle = 1;\n', "idle"],
  ["knip", "packages/database/src/index.ts", "process.stdout.write('');\n", "@ectus/core"],
  [
    "import direction",
    "packages/core/src/up.ts",
    'import "@ectus/database";\n',
    "core may import no other package",
  ],
  ["sizes and names", "packages/core/src/utils.ts", "export {};\n", '"utils" says nothing'],
  ["sizes and names", "packages/core/src/long.ts", "\n".repeat(601), "601 lines"],
  [
    "package-lock.json",
    "package-lock.json",
    '{"packages":{"node_modules/a":{"optionalDependencies":{"a-linux-x64":"1.0.0"}}}}',
    "lacks the optional package a-linux-x64",
  ],
  ["docs/errors.md", "docs/errors.md", "| `no_such_code` |\n", "lists no_such_code"],
  ["generated blocks", "README.md", "<!-- generated:config -->\nold\n<!-- /generated -->\n", "block config"],
])("the step %s finds what is wrong with a planted %s", async (step, path, content, fault) => {
  await using project = await createSmallProject();
  await project.write(path, content);
  expect(await faultsOf(project.root, new RegExp(step))).toContain(fault);
});
