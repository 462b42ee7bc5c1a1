#!/usr/bin/env node
import { contextFromEnvironment, runInContext } from "@ectus/core";
import { processContext } from "./command-context.ts";
import { runProgram } from "./program.ts";

// Whoever reads has enough, as `head` after one line, or is gone: no reason to fail, and nobody to tell.
for (const output of [process.stdout, process.stderr]) {
  output.on("error", (error: NodeJS.ErrnoException) => {
    // EIO is a terminal that was closed.
    if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
  });
}
// A command that another started for a request belongs to that request.
const context = contextFromEnvironment(process.env);
const run = (): Promise<number> => runProgram(process.argv.slice(2), processContext());
process.exitCode = await (context === undefined ? run() : runInContext(context, run));
