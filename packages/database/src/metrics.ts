// What is measured of the database, and recorded in traces. Statements are measured where all of them pass, in
// session.ts; the pool is read when a scrape asks.
import type { Logger } from "@ectus/core";
import {
  type CounterHandle,
  catalogue,
  currentExemplar,
  type HistogramHandle,
  type Instruments,
  type Span,
  type SpanTemplate,
  startSpan,
} from "@ectus/monitoring";
import type { Attributes } from "@opentelemetry/api";
import {
  exemplarOf,
  recordStatement,
  recordWait,
  type StatementParents,
  statementTemplate,
  transactionTemplate,
  waitTemplate,
} from "./database-spans.ts";
import type { ConnectionErrorReason, StatementFailure } from "./error-reasons.ts";
import { slowStatementLog } from "./slow-statements.ts";
import type { StatementKind } from "./statement-kind.ts";

/** What a pool counts itself. */
export interface PoolCounters {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly options: { readonly max: number };
}

export type TransactionOutcome = "committed" | "rolled_back" | "failed";

/** A transaction that has begun. */
export interface RunningTransaction {
  readonly startedMs: number;
  /** What its statements are recorded under. */
  readonly span: Span | undefined;
}

/** Times are those of `performance.now()` at the start. */
export interface DatabaseMetrics {
  /** A statement has its whole answer, or has failed. */
  statementEnded(
    kind: StatementKind,
    startedMs: number,
    text: string,
    parents: StatementParents,
    failure?: StatementFailure,
  ): void;
  transactionBegun(): RunningTransaction;
  transactionEnded(outcome: TransactionOutcome, transaction: RunningTransaction): void;
  connectionFailed(reason: ConnectionErrorReason): void;
  /** Somebody had waited for a connection, in vain if there is a failure. */
  waited(startedMs: number, parents: StatementParents, failure?: ConnectionErrorReason): void;
  /** Shows a pool until what it returns is called. */
  showPool(pool: PoolCounters): () => void;
}

export interface DatabaseMetricsOptions {
  readonly instruments: Instruments;
  /** What the spans say of the database. */
  readonly attributes: Attributes;
  readonly slowQueryMs: number;
  readonly log: Logger;
}

interface Handles {
  readonly duration: HistogramHandle;
  readonly slow: CounterHandle;
  readonly template: SpanTemplate;
}

// An export reads a whole table, at the rate that it is held to: that it takes minutes is no news, and no fault.
const longByNature = new Set(["export_copy", "export_count", "export_digest"]);

// More kinds than the program has: past it, handles are looked up each time.
const mostKept = 300;

// A connection that is free is had in less; a span for that would say nothing.
const noticeableWaitMs = 1;

export function databaseMetrics(options: DatabaseMetricsOptions): DatabaseMetrics {
  const { instruments, attributes, slowQueryMs, log } = options;
  const durations = instruments.histogram("db_query_duration_seconds");
  const slowQueries = instruments.counter("db_slow_queries_total");
  const errors = instruments.counter("db_query_errors_total");
  const waits = instruments.histogram("db_pool_wait_duration_seconds").labels({});
  const transactions = instruments.histogram("db_transaction_duration_seconds");
  const connectionErrors = instruments.counter("db_connection_errors_total");
  const outcomes: Readonly<Record<TransactionOutcome, HistogramHandle>> = {
    committed: transactions.labels({ outcome: "committed" }),
    rolled_back: transactions.labels({ outcome: "rolled_back" }),
    failed: transactions.labels({ outcome: "failed" }),
  };
  // From 0 on, so that the first one is an increase.
  for (const reason of catalogue.db_connection_errors_total.labels.reason.values)
    connectionErrors.labels({ reason });
  const logSlow = slowStatementLog({ log });
  const transaction = transactionTemplate(attributes);
  const wait = waitTemplate(attributes);
  const kept = new Map<string, Map<string, Handles>>();
  let keptCount = 0;

  function handlesOf(kind: StatementKind): Handles {
    return kept.get(kind.operation)?.get(kind.table) ?? makeHandles(kind);
  }

  function makeHandles(kind: StatementKind): Handles {
    const { operation, table } = kind;
    const labels = { operation, table };
    const handles = {
      duration: durations.labels(labels),
      slow: slowQueries.labels(labels),
      template: statementTemplate(kind, attributes),
    };
    if (keptCount < mostKept) {
      keptCount += 1;
      const byTable = kept.get(operation) ?? new Map<string, Handles>();
      kept.set(operation, byTable.set(table, handles));
    }
    return handles;
  }

  return {
    statementEnded(kind, startedMs, text, parents, failure) {
      const endedMs = performance.now();
      const durationMs = endedMs - startedMs;
      const isSlow = durationMs > slowQueryMs && !longByNature.has(kind.operation);
      const handles = handlesOf(kind);
      // First, because it decides whether the trace is kept, and only then an exemplar leads to it.
      if (parents !== undefined)
        recordStatement(parents, handles.template, startedMs, endedMs, isSlow, failure);
      const exemplar = parents === undefined ? currentExemplar() : exemplarOf(parents);
      if (failure !== undefined)
        errors.labels({ operation: kind.operation, reason: failure.reason }).inc(1, exemplar);
      handles.duration.observe(durationMs / 1_000, exemplar);
      if (isSlow) {
        handles.slow.inc(1, exemplar);
        logSlow(kind, durationMs, text, exemplar?.trace_id);
      }
    },
    transactionBegun() {
      const startedMs = performance.now();
      return { startedMs, span: startSpan(transaction, startedMs) };
    },
    transactionEnded(outcome, { startedMs, span }) {
      outcomes[outcome].observe(secondsSince(startedMs), currentExemplar());
      if (span === undefined) return;
      span.setAttribute("ectus.transaction.outcome", outcome);
      if (outcome === "failed") span.fail(outcome);
      span.end();
    },
    connectionFailed: (reason) => connectionErrors.labels({ reason }).inc(),
    waited(startedMs, parents, failure) {
      const endedMs = performance.now();
      waits.observe((endedMs - startedMs) / 1_000);
      if (parents === undefined) return;
      if (failure === undefined && endedMs - startedMs < noticeableWaitMs) return;
      recordWait(parents, wait, startedMs, endedMs, failure);
    },
    showPool: (pool) => (instruments.enabled ? showPool(instruments, pool) : () => {}),
  };
}

function secondsSince(startedMs: number): number {
  return (performance.now() - startedMs) / 1_000;
}

// A process may have several pools, as tests do, and a metric has one collect callback: it shows the sum. What is kept
// here lives as long as the instruments.
const shownPools = new WeakMap<Instruments, Set<PoolCounters>>();

function showPool(instruments: Instruments, pool: PoolCounters): () => void {
  const pools = shownPools.get(instruments) ?? showPools(instruments);
  pools.add(pool);
  return () => pools.delete(pool);
}

function showPools(instruments: Instruments): Set<PoolCounters> {
  const pools = new Set<PoolCounters>();
  shownPools.set(instruments, pools);
  const sum = (count: (pool: PoolCounters) => number): number =>
    [...pools].reduce((total, pool) => total + count(pool), 0);
  const active = (pool: PoolCounters): number => pool.totalCount - pool.idleCount;
  const size = (): number => sum((pool) => pool.options.max);
  instruments.gauge("db_pool_connections", (gauge) => {
    gauge.labels({ state: "active" }).set(sum(active));
    gauge.labels({ state: "idle" }).set(sum((pool) => pool.idleCount));
  });
  instruments.gauge("db_pool_waiting", (gauge) => gauge.labels({}).set(sum((pool) => pool.waitingCount)));
  instruments.gauge("db_pool_size", (gauge) => gauge.labels({}).set(size()));
  instruments.gauge("db_pool_utilization_ratio", (gauge) =>
    gauge.labels({}).set(pools.size === 0 ? 0 : sum(active) / size()),
  );
  return pools;
}
