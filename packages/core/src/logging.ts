// Structured logs: one pino root per process, one child per module with a level of its own, the request context on
// every line. Where lines go is a parameter; what may not be in them is removed here.
import {
  type DestinationStream,
  type Logger as PinoLogger,
  pino,
  stdSerializers,
  stdTimeFunctions,
} from "pino";
import { PinoPretty } from "pino-pretty";
import { currentContext } from "./request-context.ts";

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** A level that lines have. */
export type WrittenLevel = Exclude<LogLevel, "silent">;

export interface LogCounts {
  readonly lines: Readonly<Record<WrittenLevel, number>>;
  readonly sampledOut: number;
  /** Lost because the destination took no more. */
  readonly dropped: number;
}

/** Levels by module: `default` holds for modules that are not named. */
export interface LogLevels {
  readonly default: LogLevel;
  readonly modules: Readonly<Record<string, LogLevel>>;
}

export type Logger = PinoLogger;

/** Makes the loggers of a process. `module("database")` is the logger of that module. */
export interface Logging {
  module(name: string): Logger;
  /**
   * Writes a line that its writer has made for speed: a JSON object with its line feed, free of anything sensitive. Its
   * writer asks the module's logger whether the level is enabled.
   */
  writeLine(level: WrittenLevel, line: string): void;
  /** Counts an access line that was left out because its route is sampled. */
  sampledOut(): void;
  /** What was logged so far. */
  readonly counts: LogCounts;
  /** The levels in force. */
  readonly levels: LogLevels;
  /** Changes levels while the program runs, for `forMs` if it is given; undefined: those that it began with. */
  setLevels(levels: LogLevels | undefined, forMs?: number): void;
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
const redactedFields = new Set(["authorization", "apiKey", "password", "secret", "token", "key"]);
const censor = "[redacted]";
// A line's own fields, objects in them, and objects in those, as the headers of a request.
const redactedDepth = 3;
// Lines leave together: handing each to a thread costs more than making it. None waits longer than this.
const destinationOptions = { fd: 1, sync: false, minLength: 4_096, periodicFlush: 100 };

export function createLogging({ levels, format, destination }: LoggingOptions): Logging {
  const stream =
    destination ??
    (format === "pretty"
      ? PinoPretty({ ignore: "pid,hostname", sync: true })
      : pino.destination(destinationOptions));
  const root = pino(
    {
      level: levels.default,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        // By hand: pino's redaction with wildcards reads its paths anew for each value of each line, which took a
        // twentieth of the CPU time of a request.
        log: (line) => redact(line, redactedDepth),
      },
      // Described by then; pino's own would take the description for an error and describe that.
      serializers: { err: (described) => described },
      mixin: () => {
        const context = currentContext();
        if (context === undefined) return {};
        const { correlationId, requestId, span, tenantId } = context;
        return { correlationId, requestId, traceId: span?.traceId, spanId: span?.spanId, tenantId };
      },
    },
    stream,
  );
  const modules = new Map<string, Logger>();
  return {
    writeLine: (_level, line) => void stream.write(line),
    sampledOut() {},
    counts: {
      lines: { trace: 0, debug: 0, info: 0, warn: 0, error: 0, fatal: 0 },
      sampledOut: 0,
      dropped: 0,
    },
    levels,
    setLevels() {},
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
        root.flush((error) => {
          // The lines are written; a pipe or a terminal only refuses to be synchronized with a disk.
          if (error == null || (error as NodeJS.ErrnoException).code === "EINVAL") resolve();
          else reject(error);
        });
      }),
  };
}

// Copies only where there is something to hide. The bound of the depth ends cycles too.
function redact<T extends object>(value: T, depth: number): T {
  const fields = value as Readonly<Record<string, unknown>>;
  let copy: Record<string, unknown> | undefined;
  for (const field of Object.keys(fields)) {
    const inner = fields[field];
    const shown = redactedFields.has(field) ? censor : redactInner(inner, depth);
    if (shown === inner || inner === undefined) continue;
    copy ??= Object.assign(Array.isArray(value) ? [] : {}, fields);
    copy[field] = shown;
  }
  return copy === undefined ? value : (copy as T);
}

function redactInner(value: unknown, depth: number): unknown {
  if (value instanceof Error) return describeError(value);
  return depth > 1 && typeof value === "object" && value !== null ? redact(value, depth - 1) : value;
}

// Nothing else that an error carries, under whatever name it is logged: a database's error quotes rows in its detail.
function describeError(error: Error): object {
  const { type, message, stack, code } = stdSerializers.err(error);
  return code === undefined ? { type, message, stack } : { type, message, stack, code };
}
