// node tools/check/generated.ts [--write]: checks the generated blocks of all Markdown files and the rules of the service's
// objective, or makes them anew.
import { join } from "node:path";
import { checkGeneratedBlocks, writeGeneratedBlocks } from "./src/docs.ts";
import { checkObjectiveRules, writeObjectiveRules } from "./src/objective-rules.ts";

const root = join(import.meta.dirname, "..", "..");
if (process.argv.includes("--write")) {
  const rewritten = [...(await writeGeneratedBlocks(root)), ...(await writeObjectiveRules(root))];
  for (const path of rewritten) process.stdout.write(`rewritten: ${path}\n`);
}
const faults = [...(await checkGeneratedBlocks(root)), ...(await checkObjectiveRules(root))];
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
