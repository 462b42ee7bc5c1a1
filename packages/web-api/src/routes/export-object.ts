// An export as clients see it: its state, how far it is, and what its bag will need.
import type { ExportScope } from "@ectus/bag";
import { type ExportRow, exportedTables } from "@ectus/database";
import Type from "typebox";
import { publicId } from "../public-ids.ts";
import { Nullable } from "../schemas.ts";

/** Before its end, an export tells for so long that it ends. */
const noticeMs = 24 * 60 * 60_000;

const Time = Type.Integer({ description: "Seconds since 1970" });
const Amount = Type.Integer();
const states = ["queued", "running", "ready", "failed", "expired"] as const;
const phases = [
  "waiting",
  "snapshot",
  "tables",
  "audit_log",
  "files",
  "verifying",
  "sealing",
  "done",
] as const;

export const ExportAnswer = Type.Object({
  id: Type.String(),
  object: Type.Literal("export"),
  created_at: Time,
  format: Type.Enum(["ndjson", "csv"]),
  compression: Type.Enum(["none", "gzip", "zstd"]),
  scope: Type.Object({
    tables: Type.Array(Type.Enum([...exportedTables])),
    files: Type.Boolean(),
    audit_log: Type.Boolean(),
    from: Type.Optional(Type.String({ format: "date-time" })),
    to: Type.Optional(Type.String({ format: "date-time" })),
    subject: Type.Optional(Type.String()),
  }),
  state: Type.Enum([...states]),
  phase: Type.Enum([...phases]),
  attempt: Type.Integer({ description: "Workers that took it up; more than one if one was lost" }),
  progress: Type.Object({
    rows_done: Amount,
    rows_expected: Nullable(Amount),
    bytes_done: Type.Integer({ description: "Of rows before compression, and of files" }),
    bytes_expected: Nullable(Amount),
    rows_per_second: Nullable(Amount),
    bytes_per_second: Nullable(Amount),
    seconds_left: Nullable(Amount),
  }),
  started_at: Nullable(Time),
  finished_at: Nullable(Time),
  expires_at: Nullable(Time),
  notice: Type.Union([Type.String(), Type.Null()], {
    description: "When it will be removed, if that is soon, or was removed",
  }),
  bag: Type.Union(
    [
      Type.Object({
        name: Type.String(),
        bytes: Type.Integer({ description: "Of the tar file" }),
        files: Type.Integer(),
        digest: Type.String({ description: "SHA-256 of tagmanifest-sha256.txt" }),
      }),
      Type.Null(),
    ],
    { description: "Null unless it is ready" },
  ),
  error: Nullable(Type.Object({ code: Type.String(), message: Type.String() })),
});

/** What of an export can be downloaded. */
export interface BagSize {
  /** Of the tar file. */
  readonly bytes: number;
  readonly files: number;
}

/** Its state; what should have expired has, also while nobody has removed it. */
export function stateOf({ state, expires_at }: ExportRow, now: Date): ExportRow["state"] {
  return state === "ready" && expires_at !== null && expires_at <= now ? "expired" : state;
}

export function toExport(row: ExportRow, bag: BagSize | undefined, now: Date) {
  const state = stateOf(row, now);
  return {
    id: publicId("export-", row.id),
    object: "export" as const,
    created_at: seconds(row.created_at),
    format: row.row_format,
    compression: row.compression,
    scope: toScope(row.scope),
    state,
    phase: row.phase,
    attempt: row.attempt,
    progress: toProgress(row, now),
    started_at: row.started_at && seconds(row.started_at),
    finished_at: row.finished_at && seconds(row.finished_at),
    expires_at: row.expires_at && seconds(row.expires_at),
    notice: noticeOf(row, state, now),
    bag:
      state === "ready" && bag !== undefined && row.bag_name !== null && row.bag_digest !== null
        ? { name: row.bag_name, ...bag, digest: row.bag_digest.toString("hex") }
        : null,
    error:
      state === "failed"
        ? { code: row.error_code ?? "internal_error", message: row.error_message ?? "The export failed." }
        : null,
  };
}

function toScope({ tables, files, auditLog, from, to, subject }: ExportScope) {
  return {
    // They are those of the data map when it was asked for.
    tables: [...tables] as (typeof exportedTables)[number][],
    files,
    audit_log: auditLog,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(subject === undefined ? {} : { subject }),
  };
}

function toProgress(row: ExportRow, now: Date) {
  const { rows_done, rows_expected, bytes_done, bytes_expected, started_at } = row;
  const elapsedMs = started_at === null ? 0 : (row.finished_at ?? now).getTime() - started_at.getTime();
  const perSecond = (done: number): number | null =>
    elapsedMs > 0 ? Math.round((done / elapsedMs) * 1_000) : null;
  const bytes_per_second = perSecond(bytes_done);
  const isTimeKnown = row.state === "running" && bytes_expected !== null && (bytes_per_second ?? 0) > 0;
  return {
    rows_done,
    rows_expected,
    bytes_done,
    bytes_expected,
    rows_per_second: perSecond(rows_done),
    bytes_per_second,
    seconds_left: isTimeKnown
      ? Math.ceil(Math.max(bytes_expected - bytes_done, 0) / (bytes_per_second as number))
      : null,
  };
}

function noticeOf({ expires_at }: ExportRow, state: ExportRow["state"], now: Date): string | null {
  if (expires_at === null) return null;
  const at = expires_at.toISOString();
  if (state === "expired") return `This export expired at ${at} and was removed. Ask for a new one.`;
  if (state !== "ready" || expires_at.getTime() - now.getTime() > noticeMs) return null;
  return `This export is removed at ${at}; download it before then.`;
}

const seconds = (time: Date): number => Math.floor(time.getTime() / 1_000);
