// The configuration that a command works with: the environment, its file, and what the command line says on top.
import { resolve } from "node:path";
import { type Config, createLogging, type Environment, type Logging, loadConfig } from "@ectus/core";
import type { Command } from "commander";
import type { CommandContext } from "./command-context.ts";

export interface InstanceFlags {
  readonly dataDir?: string;
  readonly json?: boolean;
}

export interface InstanceConfig {
  readonly environment: Environment;
  readonly config: Config;
  /** DATA_DIR as an absolute path. */
  readonly dataDir: string;
}

/** Adds what every command that works on an instance has. */
export function withInstanceFlags(command: Command): Command {
  return withJsonFlag(command.option("--data-dir <folder>", "folder of the instance (DATA_DIR)"));
}

export function withJsonFlag(command: Command): Command {
  return command.option("--json", "print one JSON object and nothing else");
}

/** @throws EctusError `invalid_config` that lists every fault */
export function readInstanceConfig(
  context: CommandContext,
  flags: InstanceFlags & { readonly port?: string },
): InstanceConfig {
  const environment = withFlags(context.environment, flags);
  const config = loadConfig(environment, environment.ECTUS_CONFIG);
  return { environment, config, dataDir: resolve(config.DATA_DIR) };
}

export function withFlags(
  environment: Environment,
  { dataDir, port }: InstanceFlags & { readonly port?: string },
): Environment {
  return {
    ...environment,
    ...(port === undefined ? {} : { PORT: port }),
    ...(dataDir === undefined ? {} : { DATA_DIR: dataDir }),
  };
}

/** The log of a command that is not an instance: to standard error, errors only unless LOG_LEVEL says otherwise. */
export function commandLogging(context: CommandContext, { environment, config }: InstanceConfig): Logging {
  return createLogging({
    levels: environment.LOG_LEVEL === undefined ? { default: "error", modules: {} } : config.LOG_LEVEL,
    format: "json",
    destination: { write: context.stderr },
  });
}
