// The `ectus` command: parses, runs, and turns what was thrown into a message and an exit code.
import { EctusError, type ErrorCode, errorMessage } from "@ectus/core";
import { Command, CommanderError } from "commander";
import type { CommandContext } from "./command-context.ts";
import { addConfig } from "./commands/config.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addKey } from "./commands/key.ts";
import { addMigrate } from "./commands/migrate.ts";
import { addModel } from "./commands/model.ts";
import { addTenant } from "./commands/tenant.ts";
import { addUp } from "./commands/up.ts";
import { CommandEnded, exitCodes } from "./exit-codes.ts";
import { firstError } from "./first-error.ts";
import { version } from "./version.ts";

const commands = [addUp, addMigrate, addDoctor, addConfig, addTenant, addKey, addModel];

/** Runs a command line and returns its exit code. */
export async function runProgram(args: readonly string[], context: CommandContext): Promise<number> {
  const program = new Command("ectus")
    .description("Runs and manages Ectus-R, an OpenAI-compatible, multi-tenant AI API")
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: context.stdout, writeErr: context.stderr })
    .showHelpAfterError("(--help shows what is accepted)")
    .addHelpText("after", "\nExamples:\n  ectus up\n  ectus doctor\n  ectus tenant create 'Acme Corp'");
  for (const add of commands) add(program, context);
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCodes.done;
  } catch (error) {
    return explain(firstError(error), program, args, context);
  }
}

// Faults of what was given to the command, not of its work.
const usageCodes: readonly ErrorCode[] = ["invalid_config", "invalid_text"];

function explain(error: unknown, program: Command, args: readonly string[], context: CommandContext): number {
  const json = args.includes("--json");
  if (error instanceof CommandEnded) return error.exitCode;
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.done;
    if (error.code === "commander.unknownCommand") {
      const names = commandOf(program, args).commands.map((command) => command.name());
      context.stderr(`Commands: ${names.join(", ")}\n`);
    }
    if (json) printFault(context, "used_wrongly", error.message.replace(/^error: /, ""));
    return exitCodes.usedWrongly;
  }
  const message = errorMessage(error);
  context.stderr(`ectus: ${message}\n`);
  const code = error instanceof EctusError ? error.code : "internal_error";
  if (json) printFault(context, code, message);
  return error instanceof EctusError && usageCodes.includes(error.code)
    ? exitCodes.usedWrongly
    : exitCodes.failed;
}

/** The innermost command that the arguments name. */
function commandOf(program: Command, args: readonly string[]): Command {
  const next = program.commands.find((command) => command.name() === args[0]);
  return next === undefined ? program : commandOf(next, args.slice(1));
}

function printFault({ stdout }: CommandContext, code: string, message: string): void {
  stdout(`${JSON.stringify({ error: { code, message } }, undefined, 2)}\n`);
}
