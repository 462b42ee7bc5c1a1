// Takes up exports that wait, or whose worker is gone, and runs them: in the API's process or apart. A worker keeps an
// export by saying in time that it is alive; what it has written stays for the next one.
import { setTimeout as delay } from "node:timers/promises";
import type { SigningKey } from "@ectus/bag";
import { EctusError, type ErrorCode, errorMessage, type Logger, newUuid } from "@ectus/core";
import { type Instruments, noInstruments, noTracing, type Tracing } from "@ectus/monitoring";
import type { Database } from "./database.ts";
import { isPassingError } from "./database-errors.ts";
import { removeBlobs } from "./export/part-writer.ts";
import { type ExportCounts, type ExportStore, newCounts, runExport } from "./export.ts";
import { type ExportMetrics, exportMetrics } from "./export-metrics.ts";
import { jobTemplate, runJob } from "./job-run.ts";
import {
  claimExport,
  type ExportClaim,
  failExport,
  finishExport,
  leaveExport,
  noteExportStart,
  reportExportProgress,
} from "./queries/export-work.ts";
import type { ExportRow } from "./queries/exports.ts";

export interface ExportWorkerOptions {
  readonly database: Database;
  readonly storage: ExportStore;
  readonly signingKey: SigningKey;
  /** Name and version of this program, for the bags. */
  readonly software: string;
  readonly log: Logger;
  readonly instruments?: Instruments;
  readonly tracing?: Tracing;
  /** Exports that run at a time, over all workers. */
  readonly concurrency: number;
  /** Of each; 0 is no limit. */
  readonly bytesPerSecond: number;
  /** How long a finished export can be downloaded. */
  readonly ttlMs: number;
  /** Bytes of rows after which a part ends. */
  readonly partBytes?: number;
  /** How long a worker is taken for alive without a sign; 30,000 by default. */
  readonly leaseMs?: number;
  /** How often it looks for work that nobody told it of; 5,000 by default. */
  readonly pollMs?: number;
  /**
   * Pause before an export is taken up again that failed for a reason that passes; 10,000 by default. It doubles each
   * time, up to ten minutes.
   */
  readonly retryPauseMs?: number;
}

export interface ExportWorker {
  /** Takes no more, and leaves those that it is at to other workers, which takes some seconds at most. */
  stop(): Promise<void>;
}

/** Of one tenant, whose second export would only make the first one slower. */
const mostOfTenant = 1;
// One that kills its worker each time would take every worker with it, for ever.
const mostInterruptions = 10;
const defaultLeaseMs = 30_000;
const defaultPollMs = 5_000;
const defaultRetryPauseMs = 10_000;
const mostPauseMs = 600_000;
// Leases tell others what could not be told in time, as while the database is silent.
const stopLimitMs = 10_000;
const reportMs = 1_000;
const template = jobTemplate("export", "ectus");

export function startExportWorker(options: ExportWorkerOptions): ExportWorker {
  const { database, log, instruments = noInstruments, concurrency } = options;
  const { leaseMs = defaultLeaseMs, pollMs = defaultPollMs } = options;
  const workerId = newUuid();
  const metrics = exportMetrics({ instruments, database });
  const running = new Set<Run>();
  let stopped = false;
  let claiming: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  const listener = database.listen({
    handlers: { ectus_exports: () => wake() },
    onGap: () => wake(),
    log,
  });

  /** Looks for work, once it is not looking already. */
  function wake(): void {
    claiming = claiming.then(claimAll).catch((error) => {
      log.warn({ err: error }, "looking for exports failed");
    });
  }

  async function claimAll(): Promise<void> {
    clearTimeout(timer);
    try {
      while (!stopped && running.size < concurrency) {
        const found = await claimExport(database, workerId, { most: concurrency, mostOfTenant, leaseMs });
        if (found === undefined) return;
        begin(found.claim, found.row);
      }
    } finally {
      if (!stopped) timer = setTimeout(wake, pollMs).unref();
    }
  }

  function begin(claim: ExportClaim, row: ExportRow): void {
    // One that gave no sign for as long as its lease, as when the machine held this process still, is taken up here again.
    for (const earlier of running)
      if (earlier.id === claim.id) earlier.stop.abort(new EctusError("export_superseded"));
    const stop = new AbortController();
    // It was being claimed when the worker was told to stop.
    if (stopped) stop.abort(new Stopping());
    metrics.active.inc();
    const done = work(options, { claim, row, metrics, stop, leaseMs }).finally(() => {
      metrics.active.dec();
      running.delete(run);
      wake();
    });
    const run: Run = { id: claim.id, stop, done };
    running.add(run);
  }

  async function ended(): Promise<void> {
    await claiming;
    await Promise.all([...running].map(({ done }) => done));
  }

  wake();
  return {
    async stop() {
      stopped = true;
      clearTimeout(timer);
      for (const { stop } of running) stop.abort(new Stopping());
      const limit = new AbortController();
      await Promise.race([
        ended(),
        delay(stopLimitMs, undefined, { signal: limit.signal }).catch(() => {}),
      ]).finally(() => limit.abort());
      metrics.close();
      await listener.close();
    },
  };
}

interface Run {
  /** Of the export. */
  readonly id: string;
  readonly stop: AbortController;
  readonly done: Promise<void>;
}

/** Why work ends when the worker stops. */
class Stopping extends Error {
  constructor() {
    super("the worker is stopping");
  }
}

interface Work {
  readonly claim: ExportClaim;
  readonly row: ExportRow;
  readonly metrics: ExportMetrics;
  readonly stop: AbortController;
  readonly leaseMs: number;
}

/** Never rejects: what becomes of an export is in its row, in the log and in metrics. */
async function work(options: ExportWorkerOptions, task: Work): Promise<void> {
  const { claim, row, metrics, stop, leaseMs } = task;
  const { database, log, tracing = noTracing } = options;
  const { tenantId, id, attempt } = claim;
  const run = { tracing, template, id, origin: row.origin, retryCount: attempt - 1, tenantId };
  const counts = newCounts();
  const startedMs = performance.now();
  await runJob(run, async () => {
    log.info({ exportId: id, attempt }, "export taken up");
    const reporting = report({ options, claim, counts, metrics, stop, leaseMs });
    try {
      if (row.interruptions >= mostInterruptions)
        throw new EctusError("export_incomplete", {
          reason: `it was interrupted ${row.interruptions} times`,
        });
      await noteExportStart(database, claim);
      const finished = await runExport(
        { ...options, store: options.storage },
        { claim, row, counts, signal: stop.signal },
      );
      // Or it would say after the end that it is sealing still.
      await reporting.end();
      await finishExport(database, claim, { ...finished, ttlMs: options.ttlMs });
      const durationMs = Math.round(performance.now() - startedMs);
      metrics.ready(durationMs / 1_000);
      log.info({ exportId: id, durationMs, rows: finished.rows, bytes: finished.bytes }, "export ready");
    } catch (error) {
      await reporting.end();
      throw stop.signal.aborted ? stop.signal.reason : error;
    }
  }).catch((error) => giveUp(options, task, error));
}

interface Reporting {
  readonly options: ExportWorkerOptions;
  readonly claim: ExportClaim;
  readonly counts: ExportCounts;
  readonly metrics: ExportMetrics;
  readonly stop: AbortController;
  readonly leaseMs: number;
}

/** Says every second how far it is. Stops the work when the export is not the worker's any more. */
function report({ options, claim, counts, metrics, stop, leaseMs }: Reporting): { end(): Promise<void> } {
  let ended = false;
  let timer: NodeJS.Timeout | undefined;
  let counted = 0;
  async function once(): Promise<void> {
    try {
      metrics.bytes.inc(Math.max(counts.bytesDone - counted, 0));
      counted = counts.bytesDone;
      await reportExportProgress(options.database, claim, progressOf(counts), leaseMs);
    } catch (error) {
      if (error instanceof EctusError && error.code === "export_superseded") stop.abort(error);
      // The lease may last until the database is back.
      else
        options.log.warn(
          { exportId: claim.id, reason: errorMessage(error) },
          "an export's progress could not be told",
        );
    }
  }
  let reporting = Promise.resolve();
  function schedule(): void {
    timer = setTimeout(() => {
      reporting = once().then(() => {
        if (!ended) schedule();
      });
    }, reportMs);
  }
  schedule();
  return {
    async end() {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      await reporting;
      metrics.bytes.inc(Math.max(counts.bytesDone - counted, 0));
      counted = counts.bytesDone;
    },
  };
}

function progressOf(counts: ExportCounts) {
  const { rowsDone, rowsExpected, bytesDone, fileBytesExpected, phase } = counts;
  const rowsAhead = rowsExpected === null ? null : rowsExpected - rowsDone;
  // Rows to come are taken to be as long as those that came.
  const ahead = rowsAhead === null || rowsAhead === 0 ? rowsAhead : averageBytes(counts) * rowsAhead;
  const isKnown = ahead !== null && Number.isFinite(ahead);
  const bytesExpected = isKnown ? Math.round(bytesDone + ahead + fileBytesExpected) : null;
  return { phase, rowsDone, rowsExpected, bytesDone, bytesExpected };
}

const averageBytes = ({ rowsDone, rowBytesDone }: ExportCounts): number => rowBytesDone / rowsDone;

/** What becomes of an export whose work ended without a bag. */
async function giveUp(
  options: ExportWorkerOptions,
  { claim, row, metrics }: Work,
  error: unknown,
): Promise<void> {
  const { database, storage, log, retryPauseMs = defaultRetryPauseMs } = options;
  const { id, attempt } = claim;
  try {
    if (error instanceof EctusError && error.code === "export_superseded") {
      metrics.ended("superseded");
      log.info({ exportId: id }, "export deleted, or taken over by another worker");
    } else if (error instanceof Stopping) {
      metrics.ended("left");
      log.info({ exportId: id }, "export left to another worker");
      await leaveExport(database, claim, 0);
    } else if (passes(error) && row.interruptions + 1 < mostInterruptions) {
      const pauseMs = Math.min(retryPauseMs * 2 ** row.interruptions, mostPauseMs);
      metrics.ended("left");
      log.warn(
        { exportId: id, attempt, pauseMs, err: error },
        "export interrupted; it goes on after a pause",
      );
      await leaveExport(database, claim, pauseMs);
    } else {
      metrics.ended("failed");
      log.error({ exportId: id, attempt, err: error }, "export failed");
      const blobs = await failExport(database, claim, publicError(error));
      await removeBlobs({ store: storage, claim, log }, blobs);
    }
  } catch (failure) {
    // Its lease runs out, and another worker takes it up.
    log.warn({ exportId: id, err: failure }, "what became of an export could not be written down");
  }
}

/** Whether it may go well the next time. */
function passes(error: unknown): boolean {
  if (isPassingError(error)) return true;
  // A database that another version has migrated needs a worker of that version.
  const codes: readonly ErrorCode[] = ["storage_error", "storage_full", "data_map_mismatch"];
  return error instanceof EctusError && codes.includes(error.code);
}

const askOperator = "Ask for the export again, or give the operator its id";

// Of these the log has the rest: addresses, paths, names of columns.
const toldAs: Partial<Record<ErrorCode, string>> = {
  internal_error: `Something failed here that should not have. ${askOperator}.`,
  storage_error: `The storage failed again and again. ${askOperator}.`,
  database_unavailable: `The database failed again and again. ${askOperator}.`,
  data_map_mismatch: `The database is not of this version, so nobody can say what is whose. ${askOperator}.`,
};

/** What the tenant is told; of what nobody foresaw no more than that. */
function publicError(error: unknown): { readonly code: string; readonly message: string } {
  const known = error instanceof EctusError ? error : new EctusError("internal_error");
  return { code: known.code, message: toldAs[known.code] ?? known.message };
}
