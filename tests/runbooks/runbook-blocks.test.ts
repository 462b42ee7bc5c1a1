import { expect, test } from "vitest";
import { runnableBlocks } from "./runbook-blocks.ts";

const fence = "```";

test("blocks are read with their line, section and marks, those of lists without their indentation", () => {
  const text = `# HighLoad
## First five minutes
1. Look:

   ${fence}promql run firing
   up == 0
     or vector(1)
   ${fence}
## Mitigation
${fence}sh run
echo '## no heading'
${fence}
${fence}sql run
select 1;
${fence}
${fence}sh
never
${fence}
${fence}text
neither
${fence}
`;
  expect(runnableBlocks("runbooks/high-load.md", text)).toEqual([
    {
      file: "runbooks/high-load.md",
      line: 5,
      language: "promql",
      marks: ["firing"],
      section: "First five minutes",
      code: "up == 0\n  or vector(1)\n",
    },
    {
      file: "runbooks/high-load.md",
      line: 10,
      language: "sh",
      marks: [],
      section: "Mitigation",
      code: "echo '## no heading'\n",
    },
    {
      file: "runbooks/high-load.md",
      line: 13,
      language: "sql",
      marks: [],
      section: "Mitigation",
      code: "select 1;\n",
    },
  ]);
});

test("a block without an end is refused", () => {
  expect(() => runnableBlocks("a.md", `${fence}sh run\necho\n`)).toThrow("a.md:1: the block has no end");
});
