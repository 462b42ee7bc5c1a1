// node tools/check/alertmanager-config.ts [--write]: checks Alertmanager's configuration with PagerDuty, or makes it anew.
import { join } from "node:path";
import { checkAlertmanagerVariant, writeAlertmanagerVariant } from "./src/alertmanager-variant.ts";

const root = join(import.meta.dirname, "..", "..");
if (process.argv.includes("--write")) await writeAlertmanagerVariant(root);
const faults = await checkAlertmanagerVariant(root);
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
