// A logger for tests that keeps what it is told.
import { createLogging, type Logger } from "@ectus/core";

export interface RecordingLog {
  readonly log: Logger;
  /** The lines so far, oldest first. */
  readonly lines: readonly Readonly<Record<string, unknown>>[];
}

export function recordingLog(module: "database" | "web-api" | "jobs" = "database"): RecordingLog {
  const lines: Record<string, unknown>[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const levels = { default: "debug" as const, modules: {} };
  return { log: createLogging({ levels, format: "json", destination }).module(module), lines };
}
