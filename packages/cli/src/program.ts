// The `ectus` command: parses, runs, and turns what was thrown into a message and an exit code.
import { EctusError, type ErrorCode, errorMessage } from "@ectus/core";
import { Command, CommanderError } from "commander";
import type { CommandContext } from "./command-context.ts";
import { CommandEnded, CommandFault, exitCodes } from "./exit-codes.ts";
import { firstError } from "./first-error.ts";
import { version } from "./version.ts";

type AddCommand = (program: Command, context: CommandContext) => void;

// A command line loads what it runs and no more: a worker does without the API, which would be a third of its memory.
const commands: Readonly<Record<string, () => Promise<AddCommand>>> = {
  up: async () => (await import("./commands/up.ts")).addUp,
  worker: async () => (await import("./commands/worker.ts")).addWorker,
  migrate: async () => (await import("./commands/migrate.ts")).addMigrate,
  doctor: async () => (await import("./commands/doctor.ts")).addDoctor,
  config: async () => (await import("./commands/config.ts")).addConfig,
  tenant: async () => (await import("./commands/tenant.ts")).addTenant,
  key: async () => (await import("./commands/key.ts")).addKey,
  model: async () => (await import("./commands/model.ts")).addModel,
  export: async () => (await import("./commands/export.ts")).addExport,
  drill: async () => (await import("./commands/drill.ts")).addDrill,
  "on-call": async () => (await import("./commands/on-call.ts")).addOnCall,
};

/** Those that a command line needs: the one that it names, or all for their help. */
function loadCommands([name = ""]: readonly string[]): Promise<readonly AddCommand[]> {
  const named = Object.hasOwn(commands, name) ? commands[name] : undefined;
  return Promise.all((named === undefined ? Object.values(commands) : [named]).map((load) => load()));
}

/** Runs a command line and returns its exit code. */
export async function runProgram(args: readonly string[], context: CommandContext): Promise<number> {
  const program = new Command("ectus")
    .description("Runs and manages Ectus-R, an OpenAI-compatible, multi-tenant AI API")
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: context.stdout, writeErr: context.stderr })
    .showHelpAfterError("(--help shows what is accepted)")
    .addHelpText("after", "\nExamples:\n  ectus up\n  ectus doctor\n  ectus tenant create 'Acme Corp'");
  for (const add of await loadCommands(args)) add(program, context);
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
  const coded = error instanceof EctusError || error instanceof CommandFault;
  if (json) printFault(context, coded ? error.code : "internal_error", message);
  return isUsage(error) ? exitCodes.usedWrongly : exitCodes.failed;
}

function isUsage(error: unknown): boolean {
  if (error instanceof CommandFault) return error.usedWrongly;
  return error instanceof EctusError && usageCodes.includes(error.code);
}

/** The innermost command that the arguments name. */
function commandOf(program: Command, args: readonly string[]): Command {
  const next = program.commands.find((command) => command.name() === args[0]);
  return next === undefined ? program : commandOf(next, args.slice(1));
}

function printFault({ stdout }: CommandContext, code: string, message: string): void {
  stdout(`${JSON.stringify({ error: { code, message } }, undefined, 2)}\n`);
}
