// `ectus config`: shows every variable, the value in force, where it comes from and what it accepts.
import { type ConfigRow, describeConfig, EctusError, type Environment, loadConfig } from "@ectus/core";
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { CommandEnded, exitCodes } from "../exit-codes.ts";
import { type InstanceFlags, withFlags, withInstanceFlags } from "../instance-config.ts";
import { print, table } from "../output.ts";

export function addConfig(program: Command, context: CommandContext): void {
  withInstanceFlags(program.command("config"))
    .description("show every variable, its value in force, where that comes from, and what it accepts")
    .addHelpText(
      "after",
      `
Values come from the environment, else from the file of KEY=value lines that ECTUS_CONFIG names. Secrets are masked.
The exit code is 2 when a value is not acceptable.

Examples:
  ectus config
  ECTUS_CONFIG=/etc/ectus.env ectus config --json`,
    )
    .action((flags: InstanceFlags) => {
      const environment = withFlags(context.environment, flags);
      const rows = describeConfig(environment, environment.ECTUS_CONFIG);
      const fault = findFault(environment);
      print(
        context,
        flags,
        {
          object: "config",
          variables: rows.map((row) => ({ ...row, value: row.source === "unset" ? null : row.value })),
          fault: fault ?? null,
        },
        () => text(rows),
      );
      if (fault !== undefined) {
        context.stderr(`ectus: ${fault}\n`);
        throw new CommandEnded(exitCodes.usedWrongly);
      }
    });
}

function findFault(environment: Environment): string | undefined {
  try {
    loadConfig(environment, environment.ECTUS_CONFIG);
    return undefined;
  } catch (error) {
    if (error instanceof EctusError && error.code === "invalid_config") return error.message;
    throw error;
  }
}

function text(rows: readonly ConfigRow[]): string {
  return table(
    ["VARIABLE", "VALUE", "SOURCE", "ACCEPTS"],
    rows.map(({ name, value, source, accepts }) => [name, source === "unset" ? "-" : value, source, accepts]),
  );
}
