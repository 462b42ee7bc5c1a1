// What is measured of the database, at the one place that every query passes.
import { atMost, counter, gauge, histogram, oneOf } from "./entry.ts";

const operation = atMost(
  60,
  "`select`, `insert`, `update`, `delete`, `merge`, `begin`, `commit`, `rollback`, `set`, `copy`, `cursor`, `lock`, `schema`, `ping`, `export_copy`, `export_digest` and `export_count` of exports, `raw` for other SQL, `job` for the job queue's, or the name of the function that is called",
);
const table = atMost(
  40,
  "the table of the schema that the statement reads first or writes; `jobs` for the job queue's, `none` for no table",
);

const queryBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const queryBucketsWhy = "from half a millisecond, an indexed read, to 30 s, when the server ends a statement";

export const databaseCatalogue = {
  db_query_duration_seconds: histogram({
    help: "Time of statements from when they are sent to their whole answer, be it an error; of COPY and cursors, until they were read to their end or left.",
    unit: "seconds",
    labels: { operation, table },
    buckets: queryBuckets,
    bucketsWhy: queryBucketsWhy,
    native: true,
    usedBy: ["dashboard database"],
  }),
  db_query_errors_total: counter({
    help: "Statements that failed. `connection` is one that broke or fell silent; `abandoned`, a COPY or cursor that was not read to its end.",
    labels: {
      operation,
      reason: oneOf(
        "connection",
        "timeout",
        "canceled",
        "abandoned",
        "unique_violation",
        "foreign_key_violation",
        "check_violation",
        "not_null_violation",
        "exclusion_violation",
        "serialization_failure",
        "deadlock",
        "lock_timeout",
        "insufficient_privilege",
        "insufficient_resources",
        "invalid_statement",
        "invalid_data",
        "invalid_transaction_state",
        "raised",
        "other",
      ),
    },
    usedBy: ["dashboard database"],
  }),
  db_slow_queries_total: counter({
    help: "Statements that took longer than `SLOW_QUERY_MS`.",
    labels: { operation, table },
    usedBy: ["dashboard database", "alert SlowQueries"],
  }),
  db_connection_errors_total: counter({
    help: "Connections to the database that could not be made or had (`pool_exhausted`: all were busy for too long), or were lost.",
    labels: {
      reason: oneOf(
        "refused",
        "unreachable",
        "timeout",
        "authentication",
        "too_many_connections",
        "starting_or_stopping",
        "pool_exhausted",
        "lost",
        "other",
      ),
    },
    usedBy: ["dashboard database", "alert DatabaseConnectionErrors"],
  }),
  db_pool_connections: gauge({
    help: "Connections of the pool, by what they do; one that is being made is active.",
    labels: { state: oneOf("active", "idle") },
    usedBy: ["dashboard database"],
  }),
  db_pool_waiting: gauge({
    help: "Queries and transactions that wait for a connection of the pool.",
    labels: {},
    usedBy: ["dashboard database", "alert DatabasePoolSaturated"],
  }),
  db_pool_size: gauge({
    help: "Connections that the pool may have.",
    labels: {},
    usedBy: ["dashboard database"],
  }),
  db_pool_utilization_ratio: gauge({
    help: "Connections in use, as a share of those that the pool may have.",
    unit: "ratio",
    labels: {},
    usedBy: ["dashboard database", "alert DatabasePoolSaturated"],
  }),
  db_pool_wait_duration_seconds: histogram({
    help: "Time that queries and transactions waited for a connection, until they had one or gave up; a new one has to be made first.",
    unit: "seconds",
    labels: {},
    buckets: queryBuckets,
    bucketsWhy: queryBucketsWhy,
    native: true,
    usedBy: ["dashboard database"],
  }),
  db_transaction_duration_seconds: histogram({
    help: "Time of transactions of several statements, from their begin to their end; `failed` are those whose connection broke or whose commit failed.",
    unit: "seconds",
    labels: { outcome: oneOf("committed", "rolled_back", "failed") },
    buckets: queryBuckets,
    bucketsWhy: queryBucketsWhy,
    native: true,
    usedBy: ["dashboard database"],
  }),
} as const;
