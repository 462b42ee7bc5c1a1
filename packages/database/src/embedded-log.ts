// Passes on what postgres prints: line by line to the log, at a level that fits, with bounded memory.
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import type { Logger } from "@ectus/core";

export interface ServerLog {
  /** Resolves when postgres says that it takes connections. */
  readonly ready: Promise<void>;
  /** The last lines, oldest first. */
  readonly recent: () => readonly string[];
  /** Adds a line of our own. */
  readonly add: (line: string) => void;
}

const maxLineLength = 4_096;
const keptLines = 20;
const readyLine = "database system is ready to accept connections";

/** Reads postgres' standard error until it ends. */
export function readServerLog(stream: Readable, log: Logger): ServerLog {
  const { promise: ready, resolve: markReady } = Promise.withResolvers<void>();
  const lines: string[] = [];
  const decoder = new StringDecoder("utf8");
  let rest = "";

  const add = (line: string): void => {
    lines.push(line);
    if (lines.length > keptLines) lines.shift();
    log[levelOf(line)](line);
    if (line.includes(readyLine)) markReady();
  };
  stream.on("data", (chunk: Buffer) => {
    const parts = (rest + decoder.write(chunk)).split("\n");
    rest = (parts.pop() ?? "").slice(0, maxLineLength);
    for (const part of parts) add(part.slice(0, maxLineLength));
  });
  stream.on("end", () => {
    if (rest !== "") add(rest);
  });
  // A broken pipe ends the log, not the process; the server's end is seen by its exit.
  stream.on("error", () => {});
  return { ready, recent: () => lines, add };
}

function levelOf(line: string): "debug" | "warn" | "error" {
  if (line.startsWith("PANIC:")) return "error";
  // FATAL ends one connection, not the server.
  if (/^(FATAL|WARNING|ERROR):/.test(line)) return "warn";
  return "debug";
}
