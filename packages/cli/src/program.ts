// The `ectus` command: parses, runs, and turns what was thrown into a message and an exit code.
import { EctusError, errorMessage } from "@ectus/core";
import { Command, CommanderError } from "commander";
import type { CommandContext } from "./command-context.ts";
import { addUp } from "./commands/up.ts";
import { version } from "./version.ts";

export const exitCodes = { done: 0, failed: 1, usedWrongly: 2 } as const;

/** Runs a command line and returns its exit code. */
export async function runProgram(args: readonly string[], context: CommandContext): Promise<number> {
  const program = new Command("ectus")
    .description("Runs and manages Ectus-R, an OpenAI-compatible, multi-tenant AI API")
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: context.stdout, writeErr: context.stderr })
    .showHelpAfterError("(--help shows what is accepted)");
  addUp(program, context);
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCodes.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usedWrongly;
    context.stderr(`ectus: ${errorMessage(error)}\n`);
    return error instanceof EctusError && error.code === "invalid_config"
      ? exitCodes.usedWrongly
      : exitCodes.failed;
  }
}
