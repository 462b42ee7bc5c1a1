#!/usr/bin/env node
import { processContext } from "./command-context.ts";
import { runProgram } from "./program.ts";

// Whoever reads has enough, as `head` after one line, or is gone: no reason to fail, and nobody to tell.
for (const output of [process.stdout, process.stderr]) {
  output.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}
process.exitCode = await runProgram(process.argv.slice(2), processContext());
