// Spans of what the database is asked: names and attributes follow OpenTelemetry's semantic conventions for databases,
// version 1.45. A statement's text and its values are never among them.
import { Span, type SpanTemplate } from "@ectus/monitoring";
import { type Attributes, SpanKind } from "@opentelemetry/api";
import {
  ATTR_DB_COLLECTION_NAME,
  ATTR_DB_NAMESPACE,
  ATTR_DB_OPERATION_BATCH_SIZE,
  ATTR_DB_OPERATION_NAME,
  ATTR_DB_RESPONSE_STATUS_CODE,
  ATTR_DB_SYSTEM_NAME,
  ATTR_SERVER_ADDRESS,
  ATTR_SERVER_PORT,
  DB_SYSTEM_NAME_VALUE_POSTGRESQL,
} from "@opentelemetry/semantic-conventions";
import type { ConnectionErrorReason, StatementErrorReason, StatementFailure } from "./error-reasons.ts";
import type { StatementKind } from "./statement-kind.ts";

/**
 * Where a statement is recorded: under one span, or, if several requests share it, under that of each; undefined for
 * those of which nothing is recorded.
 */
export type StatementParents = Span | readonly (Span | undefined)[] | undefined;

export interface ServerAddress {
  /** A name, an address, or the folder of a socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
}

/** The attributes that all spans of one database have. */
export function databaseAttributes({ host, port, database }: ServerAddress): Attributes {
  return {
    [ATTR_DB_SYSTEM_NAME]: DB_SYSTEM_NAME_VALUE_POSTGRESQL,
    // With the schema that is searched, as the conventions for PostgreSQL have it.
    [ATTR_DB_NAMESPACE]: `${database}|public`,
    [ATTR_SERVER_ADDRESS]: host,
    ...(host.startsWith("/") ? {} : { [ATTR_SERVER_PORT]: port }),
  };
}

// Words of SQL, which the conventions write as SQL does. All other operations are called what the code calls them.
const sqlWords = /^(?:select|insert|update|delete|merge|begin|commit|rollback|set|copy)$/;

export function statementTemplate({ operation, table }: StatementKind, database: Attributes): SpanTemplate {
  const name = sqlWords.test(operation) ? operation.toUpperCase() : operation;
  const isAboutTable = table !== "none";
  return {
    name: isAboutTable ? `${name} ${table}` : name,
    kind: SpanKind.CLIENT,
    attributes: {
      ...database,
      [ATTR_DB_OPERATION_NAME]: name,
      ...(isAboutTable ? { [ATTR_DB_COLLECTION_NAME]: table } : {}),
    },
  };
}

/** A transaction of several statements, with them as children. */
export function transactionTemplate(database: Attributes): SpanTemplate {
  return { name: "transaction", kind: SpanKind.INTERNAL, attributes: database };
}

/** A wait for a connection of the pool. */
export function waitTemplate(database: Attributes): SpanTemplate {
  return { name: "pool.wait", kind: SpanKind.INTERNAL, attributes: database };
}

// By these the program learns what its callers did, or tries again. They say nothing of a fault.
const expectedReasons: ReadonlySet<StatementErrorReason> = new Set([
  "canceled",
  "abandoned",
  "unique_violation",
  "foreign_key_violation",
  "exclusion_violation",
  "serialization_failure",
]);

/** Records a statement that has ended. One that was slow, or failed by a fault, has a trace kept. */
export function recordStatement(
  parents: Exclude<StatementParents, undefined>,
  template: SpanTemplate,
  startMs: number,
  endMs: number,
  isSlow: boolean,
  failure: StatementFailure | undefined,
): void {
  if (failure !== undefined && !expectedReasons.has(failure.reason)) keepOne(parents, "error");
  if (isSlow) keepOne(parents, "slow");
  if (parents instanceof Span) {
    recordUnder(parents, template, startMs, endMs, failure);
    return;
  }
  for (const parent of parents) {
    const span = recordUnder(parent, template, startMs, endMs, failure);
    if (parents.length > 1) span?.setAttribute(ATTR_DB_OPERATION_BATCH_SIZE, parents.length);
  }
}

function recordUnder(
  parent: Span | undefined,
  template: SpanTemplate,
  startMs: number,
  endMs: number,
  failure: StatementFailure | undefined,
): Span | undefined {
  const span = parent?.record(template, startMs, endMs);
  if (failure !== undefined) span?.fail(failure.reason);
  if (failure?.state !== undefined) span?.setAttribute(ATTR_DB_RESPONSE_STATUS_CODE, failure.state);
  return span;
}

/** Records a wait for a connection. One that was in vain has a trace kept. */
export function recordWait(
  parents: Exclude<StatementParents, undefined>,
  template: SpanTemplate,
  startMs: number,
  endMs: number,
  failure: ConnectionErrorReason | undefined,
): void {
  if (failure !== undefined) keepOne(parents, "error");
  for (const parent of parents instanceof Span ? [parents] : parents) {
    const span = parent?.record(template, startMs, endMs);
    if (failure !== undefined) span?.fail(failure);
  }
}

/**
 * Has a trace kept, of several the first that is not over. One shows what happened; a request that itself fails or is
 * slow because of it has its own kept for that, and a row that the database refuses must not keep those of all others.
 */
function keepOne(parents: Exclude<StatementParents, undefined>, reason: "error" | "slow"): void {
  if (parents instanceof Span) {
    parents.keep(reason);
    return;
  }
  for (const parent of parents) {
    parent?.keep(reason);
    if (parent?.isKept === true) return;
  }
}

/** What leads from a metric's sample to a trace that is kept. */
export function exemplarOf(
  parents: Exclude<StatementParents, undefined>,
): { readonly trace_id: string } | undefined {
  const parent = parents instanceof Span ? parents : parents.find((span) => span?.isKept === true);
  return parent?.isKept === true ? { trace_id: parent.traceId } : undefined;
}
