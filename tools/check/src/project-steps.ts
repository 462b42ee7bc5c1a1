// The steps of npm run check.
import { join } from "node:path";
import { checkAlertmanagerVariant } from "./alertmanager-variant.ts";
import { checkAlertChain } from "./alerts.ts";
import { checkErrorsDoc, checkGeneratedBlocks } from "./docs.ts";
import { checkFileRules } from "./file-rules.ts";
import { checkImports } from "./import-rules.ts";
import { checkObjectiveRules } from "./objective-rules.ts";
import { checkPackageLock } from "./package-lock.ts";
import { programFaults } from "./program.ts";
import type { Step } from "./steps.ts";

const programs = join(import.meta.dirname, "..", "..", "..", "node_modules", ".bin");

/** The steps over the project in `root`. The slowest comes first, so that others run beside it. */
export function projectSteps(root: string): readonly Step[] {
  const program = (name: string, ...args: string[]) => programFaults(root, join(programs, name), args);
  return [
    {
      name: "dead code and dependencies (knip)",
      run: () => program("knip", "--no-progress", "--no-config-hints"),
    },
    { name: "types (tsc)", run: () => program("tsc", "--pretty", "false") },
    {
      name: "lint and format (biome)",
      run: () => program("biome", "check", "--error-on-warnings", "--max-diagnostics=none", "--colors=off"),
    },
    { name: "import direction", run: () => checkImports(root) },
    { name: "file sizes and names", run: () => checkFileRules(root) },
    { name: "package-lock.json", run: () => checkPackageLock(root) },
    { name: "docs/errors.md", run: () => checkErrorsDoc(root) },
    { name: "alerts, tests, runbooks, routes", run: () => checkAlertChain(root) },
    { name: "Alertmanager with PagerDuty", run: () => checkAlertmanagerVariant(root) },
    { name: "rules of the objective", run: () => checkObjectiveRules(root) },
    { name: "generated blocks in docs", run: () => checkGeneratedBlocks(root) },
  ];
}
