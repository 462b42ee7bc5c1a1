// node tools/check/errors-doc.ts [--write]: checks docs/errors.md against core's error codes, or makes it from them.
import { join } from "node:path";
import { checkErrorsDoc, writeErrorsDoc } from "./src/docs.ts";

const root = join(import.meta.dirname, "..", "..");
if (process.argv.includes("--write")) await writeErrorsDoc(root);
const faults = await checkErrorsDoc(root);
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
