// Slow statements in the log: what they do, how long they took and their text without values. A database that is slow
// as a whole must not flood the log with them.
import type { Logger } from "@ectus/core";
import type { StatementKind } from "./statement-kind.ts";
import { describeStatement } from "./statement-text.ts";

export interface SlowStatementLogOptions {
  readonly log: Logger;
  /** Lines that one second may have; 5 by default. */
  readonly mostPerSecond?: number;
  /** Milliseconds. */
  readonly now?: () => number;
}

/** Gives a function that logs a slow statement, with the trace that it has kept. The next line counts what is not logged. */
export function slowStatementLog(
  options: SlowStatementLogOptions,
): (kind: StatementKind, durationMs: number, text: string, traceId?: string) => void {
  const { log, mostPerSecond = 5, now = () => performance.now() } = options;
  let second = Number.NEGATIVE_INFINITY;
  let lines = 0;
  let notLogged = 0;
  return ({ operation, table }, durationMs, text, traceId) => {
    const current = now();
    if (current - second >= 1_000) {
      second = current;
      lines = 0;
    }
    if (lines >= mostPerSecond) {
      notLogged += 1;
      return;
    }
    lines += 1;
    const { fingerprint, shown } = describeStatement(text);
    log.warn(
      {
        operation,
        table,
        durationMs: Math.round(durationMs),
        fingerprint,
        statement: shown,
        ...(notLogged > 0 ? { notLogged } : {}),
        // One that requests share is in the context of none.
        ...(traceId === undefined ? {} : { traceId }),
      },
      "slow statement",
    );
    notLogged = 0;
  };
}
