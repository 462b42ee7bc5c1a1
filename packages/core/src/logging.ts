// Structured logs: one pino root per process, one child per module with a level of its own, the request context on
// every line. Where lines go is a parameter; what may not be in them is removed here.
import { type DestinationStream, type Logger as PinoLogger, pino } from "pino";
import { isoTime } from "./iso-time.ts";
import { formatLogLevels, type LogLevels, levelOf, type WrittenLevel } from "./log-levels.ts";
import { createLogSink, type LogSink } from "./log-sink.ts";
import { cutText, toFields, toLoggable } from "./loggable.ts";
import { createPrettyPrinter } from "./pretty-line.ts";
import { redactLine } from "./redact.ts";
import { currentContext } from "./request-context.ts";
import { shortenLine } from "./shorten-line.ts";

export interface LogCounts {
  /** Lines that were given to the destination. */
  readonly lines: Readonly<Record<WrittenLevel, number>>;
  readonly sampledOut: number;
  /** Lost because the destination took no more. */
  readonly dropped: number;
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
  /** Those that hold unless others were set. */
  readonly configuredLevels: LogLevels;
  /** When levels that were set for a while end; undefined if none are. */
  readonly levelsUntil: Date | undefined;
  /**
   * Changes levels while the program runs, for `forMs` milliseconds (a day at most) if it is given; undefined: those
   * that are configured.
   *
   * @throws RangeError if `forMs` is no time
   */
  setLevels(levels: LogLevels | undefined, forMs?: number): void;
  /** Changes the levels that are configured, and takes them. */
  configureLevels(levels: LogLevels): void;
  /** Resolves when all lines written so far have left the process; rejects when nobody takes them. */
  flush(): Promise<void>;
}

/** Where lines go: anything that takes text, and says `false` if it could not. */
export interface LogDestination {
  write(text: string): unknown;
  flush?(): Promise<void>;
}

export interface LoggingOptions {
  readonly levels: LogLevels;
  readonly format: "json" | "pretty";
  /** Standard output by default; `2` is standard error. */
  readonly destination?: LogDestination | 1 | 2;
}

/** The longest that levels are changed for. */
export const mostLevelsMs = 24 * 60 * 60_000;

export function createLogging({ levels: given, format, destination = 1 }: LoggingOptions): Logging {
  const counts = {
    lines: { trace: 0, debug: 0, info: 0, warn: 0, error: 0, fatal: 0 },
    sampledOut: 0,
    dropped: 0,
  };
  const sink: LogDestination | LogSink =
    typeof destination === "number"
      ? createLogSink({
          fd: destination,
          onRecovered: (lines) =>
            own.warn({ lines }, "log lines were lost: whoever reads them took no more for a while"),
        })
      : destination;
  const pretty =
    format === "pretty"
      ? createPrettyPrinter(typeof destination === "number" ? streamOf(destination) : undefined)
      : undefined;

  function emit(level: WrittenLevel, line: string): void {
    if (sink.write(pretty === undefined ? line : pretty(line)) === false) counts.dropped += 1;
    else counts.lines[level] += 1;
  }

  const stream: DestinationStream = {
    write: (line) => emit(levelOfLine(line), shortenLine(redactLine(shortenLine(line)))),
  };
  const root = pino(
    {
      level: given.default,
      base: null,
      timestamp: () => `,"time":"${isoTime()}"`,
      formatters: { level: (label) => ({ level: label }) },
      // Described by then; pino's own would take the description for an error and describe that.
      serializers: { err: (described) => described },
      hooks: {
        logMethod(args, method) {
          try {
            method.apply(this, toSafeArguments(args));
          } catch {
            method.call(this, "a line could not be logged: its values cannot be read");
          }
        },
      },
      mixin: () => {
        const context = currentContext();
        if (context === undefined) return {};
        const { correlationId, requestId, span, tenantId } = context;
        return { correlationId, requestId, traceId: span?.traceId, spanId: span?.spanId, tenantId };
      },
    },
    stream,
  );
  const child: (this: Logger, bindings: object, options?: object) => Logger = root.child;
  Object.assign(root, {
    /** What a child has on all its lines are values like any other. */
    child(this: Logger, bindings: object, options?: object) {
      return child.call(this, toFields(bindings), options);
    },
  });
  // What it says of itself is always said.
  const own = child.call(root, { module: "logging" }, { level: "info" });
  const modules = new Map<string, Logger>();
  let configured = given;
  let inForce = given;
  let timer: NodeJS.Timeout | undefined;
  let until: Date | undefined;

  function take(levels: LogLevels, forMs: number | undefined, why: string): void {
    clearTimeout(timer);
    const wasSilent = inForce.default === "silent";
    inForce = levels;
    until = forMs === undefined ? undefined : new Date(Date.now() + forMs);
    timer =
      forMs === undefined
        ? undefined
        : setTimeout(() => take(configured, undefined, "log levels are as configured again"), forMs).unref();
    for (const [name, logger] of modules) logger.level = levelOf(levels, name);
    if (wasSilent && levels.default === "silent") return;
    own.info({ levels: formatLogLevels(levels), until: until?.toISOString() }, why);
  }

  return {
    module(name) {
      let logger = modules.get(name);
      if (logger === undefined) {
        logger = child.call(root, { module: name }, { level: levelOf(inForce, name) });
        modules.set(name, logger);
      }
      return logger;
    },
    writeLine: emit,
    sampledOut() {
      counts.sampledOut += 1;
    },
    counts,
    get levels() {
      return inForce;
    },
    get configuredLevels() {
      return configured;
    },
    get levelsUntil() {
      return until;
    },
    setLevels(levels, forMs) {
      if (forMs !== undefined && !(forMs > 0)) throw new RangeError(`Levels cannot hold for ${forMs} ms.`);
      if (levels === undefined) return take(configured, undefined, "log levels are as configured again");
      take(
        levels,
        forMs === undefined ? undefined : Math.min(forMs, mostLevelsMs),
        "log levels were changed",
      );
    },
    configureLevels(levels) {
      configured = levels;
      take(levels, undefined, "log levels were configured");
    },
    flush: () => sink.flush?.() ?? Promise.resolve(),
  };
}

const streamOf = (fd: 1 | 2): NodeJS.WriteStream => (fd === 1 ? process.stdout : process.stderr);

const levelsByLetter: Readonly<Record<string, WrittenLevel>> = {
  t: "trace",
  d: "debug",
  i: "info",
  w: "warn",
  e: "error",
  f: "fatal",
};

/** Lines begin with their level: `{"level":"info"`. */
const levelOfLine = (line: string): WrittenLevel => levelsByLetter[line.charAt(10)] ?? "info";

type LogArguments = [first: unknown, ...rest: unknown[]];

/** What pino is given: plain data and texts, whatever was logged. */
function toSafeArguments(args: unknown[]): LogArguments & [string] {
  const [first, second] = args;
  if (typeof first === "object" && first !== null) {
    const isError = isAnError(first);
    args[0] = toFields(isError ? { err: first } : first);
    if (isError && second === undefined) args[1] = messageOf(args[0] as object);
  } else args[0] = toArgument(first);
  for (let index = 1; index < args.length; index += 1) args[index] = toArgument(args[index]);
  return args as LogArguments & [string];
}

function isAnError(value: object): boolean {
  try {
    return value instanceof Error;
  } catch {
    return false;
  }
}

function messageOf(fields: { readonly err?: { readonly message?: unknown } }): unknown {
  return fields.err?.message;
}

function toArgument(value: unknown): unknown {
  if (typeof value === "string") return cutText(value);
  if (typeof value === "number" || value === undefined) return value;
  return toLoggable(value);
}
