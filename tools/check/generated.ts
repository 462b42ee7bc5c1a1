// node tools/check/generated.ts [--write]: checks the generated blocks of all Markdown files, or makes them anew.
import { join } from "node:path";
import { checkGeneratedBlocks, writeGeneratedBlocks } from "./src/docs.ts";

const root = join(import.meta.dirname, "..", "..");
if (process.argv.includes("--write")) {
  for (const path of await writeGeneratedBlocks(root)) process.stdout.write(`rewritten: ${path}\n`);
}
const faults = await checkGeneratedBlocks(root);
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
