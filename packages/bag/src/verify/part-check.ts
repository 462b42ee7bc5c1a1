// Checks a part of a table: that it can be uncompressed to its end, and that its rows are those that export.json says.
import { EctusError, errorMessage } from "@ectus/core";
import type { Compression } from "../export-document.ts";
import type { FaultCode } from "./fault-list.ts";
import { createRowCheck, type RowCheckOptions } from "./row-check.ts";
import { createUncompressor } from "./uncompressor.ts";

export interface PartCheck {
  /** Takes the next bytes of the part as it is in the bag, and waits while enough are under way. */
  write(chunk: Buffer): Promise<void>;
  /** There are no more: tells what is wrong, and gives how many rows were found. */
  end(): Promise<number>;
  /** Ends what is under way. */
  destroy(): void;
}

export interface PartCheckOptions extends RowCheckOptions {
  readonly compression: Compression;
  readonly signal: AbortSignal;
}

/** What is wrong with a part becomes faults; only an abort is thrown. */
export function createPartCheck(options: PartCheckOptions): PartCheck {
  const { part, compression, faults, signal } = options;
  const rows = createRowCheck(options);
  const uncompressor =
    compression === "none" ? undefined : createUncompressor(compression, rows.write, signal);
  // Why nothing more of it is looked at.
  let damage: { readonly code: FaultCode; readonly what: string } | undefined;

  const attempt = async (step: () => void | Promise<void>): Promise<void> => {
    if (damage !== undefined) return;
    try {
      await step();
    } catch (error) {
      signal.throwIfAborted();
      damage = damageOf(error);
    }
  };

  return {
    write: (chunk) => attempt(() => (uncompressor ?? rows).write(chunk)),
    async end() {
      await attempt(async () => uncompressor?.end());
      await attempt(rows.end);
      if (damage === undefined) rows.compare();
      else faults.add(damage.code, part.path, damage.what);
      return rows.count;
    },
    destroy: () => uncompressor?.destroy(),
  };
}

function damageOf(error: unknown): { readonly code: FaultCode; readonly what: string } {
  if (!(error instanceof EctusError)) return { code: "part_damaged", what: errorMessage(error) };
  const { reason, isCount } = error.details;
  return { code: isCount === true ? "rows_differ" : "part_damaged", what: String(reason) };
}
