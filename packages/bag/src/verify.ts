// Checks a bag offline: that nothing is missing, nothing was added, nothing changed, and who signed it.
import type { BagSource } from "./bag-source.ts";
import type { ExportDocument } from "./export-document.ts";
import type { PublicSigningKey } from "./signing-key.ts";
import { checkPayload } from "./verify/check-payload.ts";
import { checkTagFiles } from "./verify/check-tag-files.ts";
import { checkTotals } from "./verify/check-totals.ts";
import { createFaultList } from "./verify/fault-list.ts";

export interface BagFault {
  readonly code: string;
  /** The file at fault, below the bag's folder. */
  readonly path?: string;
  /** What is wrong, in a sentence. */
  readonly message: string;
}

export interface BagReport {
  /** Whether there is no fault. */
  readonly ok: boolean;
  readonly faults: readonly BagFault[];
  /** Undefined if export.json could not be read. */
  readonly document: ExportDocument | undefined;
  readonly signature: {
    /** `valid`: by a key that was given to check with. `unknown_key`: it fits the key that the bag itself names, which proves nothing of who made it. */
    readonly state: "valid" | "unknown_key" | "invalid" | "missing";
    readonly kid: string | undefined;
  };
  readonly files: number;
  readonly bytes: number;
  readonly rows: number;
}

export interface VerifyOptions {
  /** Those that are trusted to have signed it. With none, any signature that fits will do, and the report says whose. */
  readonly keys: readonly PublicSigningKey[];
  readonly signal: AbortSignal;
  /** Told after each chunk that was read. */
  readonly onProgress?: (progress: { readonly bytesDone: number; readonly bytes: number }) => void;
  /** Of a row, which is held in memory; 1 GiB. */
  readonly mostRowBytes?: number;
}

/**
 * Checks a bag in one pass, in memory that does not grow with it, but for the names of its files and one row. Whatever is
 * wrong with it is in the report; only an abort is thrown.
 */
export async function verifyBag(source: BagSource, options: VerifyOptions): Promise<BagReport> {
  const { keys, signal, onProgress, ...limits } = options;
  const faults = createFaultList();
  const files = source.entries.size;
  const bytes = source.entries.values().reduce((sum, entry) => sum + entry.bytes, 0);
  let bytesDone = 0;
  const onBytes = (read: number): void => {
    bytesDone += read;
    onProgress?.({ bytesDone, bytes });
  };
  const context = { source, faults, signal, onBytes };
  const { manifest, document, signature } = await checkTagFiles(context, keys);
  if (document !== undefined) checkTotals(document, faults);
  const rows = await checkPayload(context, { manifest, document }, limits);
  return { ok: faults.count === 0, faults: faults.list(), document, signature, files, bytes, rows };
}
