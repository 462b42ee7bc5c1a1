// Structured logs: one pino root per process, one child per module with a level of its own, the request context on
// every line. Where lines go is a parameter; what may not be in them is removed here.
import { type DestinationStream, type Logger as PinoLogger, pino, stdTimeFunctions } from "pino";
import { PinoPretty } from "pino-pretty";
import { currentContext } from "./request-context.ts";

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** Levels by module: `default` holds for modules that are not named. */
export interface LogLevels {
  readonly default: LogLevel;
  readonly modules: Readonly<Record<string, LogLevel>>;
}

export type Logger = PinoLogger;

/** Makes the loggers of a process. `module("database")` is the logger of that module. */
export interface Logging {
  module(name: string): Logger;
  /** Resolves when all lines written so far have left the process. */
  flush(): Promise<void>;
}

export interface LoggingOptions {
  readonly levels: LogLevels;
  readonly format: "json" | "pretty";
  /** Where lines go; standard output by default. */
  readonly destination?: DestinationStream;
}

// Fields that hold credentials wherever they are logged from.
const redactedFields = ["authorization", "apiKey", "password", "secret", "token", "key"];
const redactedPaths = redactedFields.flatMap((field) => [
  field,
  `*.${field}`,
  `headers.${field}`,
  `*.headers.${field}`,
]);

export function createLogging({ levels, format, destination }: LoggingOptions): Logging {
  const stream =
    destination ??
    (format === "pretty"
      ? PinoPretty({ ignore: "pid,hostname", sync: true })
      : pino.destination({ fd: 1, sync: false }));
  const root = pino(
    {
      level: levels.default,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: "[redacted]" },
      mixin: () => {
        const context = currentContext();
        if (context === undefined) return {};
        const { correlationId, requestId, tenantId } = context;
        return tenantId === undefined ? { correlationId, requestId } : { correlationId, requestId, tenantId };
      },
    },
    stream,
  );
  const modules = new Map<string, Logger>();
  return {
    module(name) {
      let logger = modules.get(name);
      if (logger === undefined) {
        logger = root.child({ module: name }, { level: levels.modules[name] ?? levels.default });
        modules.set(name, logger);
      }
      return logger;
    },
    flush: () =>
      new Promise((resolve, reject) => {
        root.flush((error) => (error ? reject(error) : resolve()));
      }),
  };
}
