// npm run check: everything that is checked without running the platform. Each step prints one line; every fault is
// shown; exit status 1 when there is any.
import { join } from "node:path";
import { projectSteps } from "./src/project-steps.ts";
import { runSteps } from "./src/steps.ts";

const root = join(import.meta.dirname, "..", "..");

process.exitCode = await runSteps(projectSteps(root), {
  atOnce: 2,
  write: (text) => process.stdout.write(text),
});
