// An export from its request to its bag, with the real engine, database and storage, in the process of the test.
import { randomBytes } from "node:crypto";
import { createSigningKey } from "@ectus/bag";
import { newUuid } from "@ectus/core";
import {
  claimExport,
  createExport,
  type Database,
  type ExportClaim,
  type ExportRow,
  exportedTables,
  finishExport,
  leaveExport,
  type NewExport,
  newCounts,
  runExport,
} from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import { expect } from "vitest";
import { recordingLog } from "../postgres/recording-log.ts";

export const signingKey = createSigningKey(randomBytes(32).toString("base64url"));

/** All that a tenant has. */
const wholeScope = { tables: exportedTables, files: true, auditLog: true } as const;

export interface RunOptions extends Partial<Omit<NewExport, "tenantId">> {
  readonly partBytes?: number;
  readonly signal?: AbortSignal;
  readonly bytesPerSecond?: number;
  readonly counts?: ReturnType<typeof newCounts>;
}

const actor = { actor: { type: "operator" } } as const;

export async function askForExport(
  database: Database,
  tenantId: string,
  options: RunOptions = {},
): Promise<ExportRow> {
  return createExport(
    database,
    { rowFormat: "ndjson", compression: "zstd", scope: wholeScope, mostUnfinished: 9, ...options, tenantId },
    actor,
  );
}

/** Claims the next export, and leaves it as a worker does that stops, when `signal` says so. Gives the claim. */
export async function runNextExportUntil(
  database: Database,
  storage: BlobStorage,
  options: RunOptions & { readonly signal: AbortSignal },
): Promise<ExportClaim> {
  const found = await claimNext(database);
  await expect(run(database, storage, found, options)).rejects.toThrow();
  expect(options.signal.aborted).toBe(true);
  await leaveExport(database, found.claim, 0);
  return found.claim;
}

/** Claims the next export and runs it to its end. Gives its id. */
export async function runNextExport(
  database: Database,
  storage: BlobStorage,
  options: RunOptions = {},
): Promise<string> {
  const found = await claimNext(database);
  const finished = await run(database, storage, found, options);
  await finishExport(database, found.claim, { ...finished, ttlMs: 3_600_000 });
  return found.claim.id;
}

type Claimed = NonNullable<Awaited<ReturnType<typeof claimExport>>>;

async function claimNext(database: Database): Promise<Claimed> {
  const found = await claimExport(database, newUuid(), { most: 9, mostOfTenant: 9, leaseMs: 600_000 });
  if (found === undefined) throw new Error("no export waits");
  return found;
}

function run(database: Database, storage: BlobStorage, found: Claimed, options: RunOptions) {
  const { signal = new AbortController().signal, partBytes = 20_000 } = options;
  const { bytesPerSecond = 0, counts = newCounts() } = options;
  return runExport(
    {
      database,
      store: storage,
      signingKey,
      software: "tests",
      bytesPerSecond,
      partBytes,
      log: recordingLog().log,
    },
    { ...found, counts, signal },
  );
}
