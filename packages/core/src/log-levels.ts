// Levels of the log, one for each module that has one of its own: `info,database=debug`.

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** A level that lines have. */
export type WrittenLevel = Exclude<LogLevel, "silent">;

/** Levels by module: `default` holds for modules that are not named. */
export interface LogLevels {
  readonly default: LogLevel;
  readonly modules: Readonly<Record<string, LogLevel>>;
}

/** What parseLogLevels accepts, in words that complete "accepts …". */
export const acceptedLogLevels = `${logLevels.join(", ")}, and module=level pairs, separated by commas, as in info,database=debug`;

const mostCharacters = 1_000;

/** Reads levels as LOG_LEVEL has them; undefined if the text is none. */
export function parseLogLevels(text: string): LogLevels | undefined {
  if (text.length > mostCharacters) return undefined;
  const modules: Record<string, LogLevel> = {};
  let fallback: LogLevel = "info";
  for (const part of text.split(",")) {
    const [left, right] = part.trim().split("=", 2) as [string, string?];
    const level = logLevels.find((known) => known === (right ?? left));
    if (level === undefined || (right !== undefined && !/^[a-z][a-z-]*$/.test(left))) return undefined;
    if (right === undefined) fallback = level;
    else modules[left] = level;
  }
  return { default: fallback, modules };
}

/** Levels as parseLogLevels reads them. */
export function formatLogLevels(levels: LogLevels): string {
  return [
    levels.default,
    ...Object.entries(levels.modules).map(([module, level]) => `${module}=${level}`),
  ].join(",");
}

/** The level that holds for a module. */
export function levelOf(levels: LogLevels, module: string): LogLevel {
  return Object.hasOwn(levels.modules, module) ? (levels.modules[module] as LogLevel) : levels.default;
}
