// Tells a fault once, however often it comes back, and once that it is over.
import type { Logger } from "@ectus/core";

export interface FaultLog {
  /** Logs it, unless this fault has been logged and is not over. */
  failed(fault: string, fields: object, message: string): void;
  /** Logs that it is over, if it was logged. */
  mended(fault: string, fields: object, message: string): void;
  /** Faults that were logged and are not over. */
  readonly open: ReadonlySet<string>;
}

export function createFaultLog(log: Pick<Logger, "info" | "warn">): FaultLog {
  const open = new Set<string>();
  return {
    open,
    failed(fault, fields, message) {
      if (open.has(fault)) return;
      open.add(fault);
      log.warn(fields, message);
    },
    mended(fault, fields, message) {
      if (open.delete(fault)) log.info(fields, message);
    },
  };
}
