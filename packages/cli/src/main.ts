#!/usr/bin/env node
import { processContext } from "./command-context.ts";
import { runProgram } from "./program.ts";

process.exitCode = await runProgram(process.argv.slice(2), processContext());
