// The log of a process that runs until it is stopped, as an instance or a worker.
import { type Config, createLogging, type Logging, loadConfig } from "@ectus/core";
import type { CommandContext } from "./command-context.ts";
import type { InstanceConfig } from "./instance-config.ts";

/** To standard output, or to standard error when an object is printed to the other. */
export function processLogging(
  { config }: InstanceConfig,
  { json }: { readonly json?: boolean },
  context: CommandContext,
): Logging {
  return createLogging({
    levels: config.LOG_LEVEL,
    format: logFormat(config, context.terminal && json !== true),
    ...(json === true ? { destination: context.errorLog } : {}),
  });
}

/** The environment of a process does not change, but the file may have. */
export function readLevelsAgain({ environment }: InstanceConfig, logging: Logging): void {
  try {
    logging.configureLevels(loadConfig(environment, environment.ECTUS_CONFIG).LOG_LEVEL);
  } catch (error) {
    logging
      .module("cli")
      .error({ err: error }, "the configuration cannot be read again; nothing was changed");
  }
}

function logFormat({ LOG_FORMAT }: Config, terminal: boolean): "json" | "pretty" {
  if (LOG_FORMAT !== "auto") return LOG_FORMAT;
  return terminal ? "pretty" : "json";
}
