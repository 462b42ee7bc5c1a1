// node tools/check/lock.ts [--write]: checks that package-lock.json names the optional packages of every platform,
// or adds those that npm left out. To be run after npm install.
import { join } from "node:path";
import { checkPackageLock, completePackageLock } from "./src/package-lock.ts";

const root = join(import.meta.dirname, "..", "..");
if (process.argv.includes("--write")) {
  for (const name of await completePackageLock(root)) process.stdout.write(`added: ${name}\n`);
}
const faults = await checkPackageLock(root);
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
