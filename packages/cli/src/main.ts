#!/usr/bin/env node
import { processContext } from "./command-context.ts";
import { runProgram } from "./program.ts";

// Whoever reads has enough, as `head` after one line: no reason to fail, and nobody to tell.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});
process.exitCode = await runProgram(process.argv.slice(2), processContext());
