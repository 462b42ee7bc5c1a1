// Exports of a process, as its configuration has them: the API's or a worker's.
import type { SigningKey } from "@ectus/bag";
import type { Config, Logging } from "@ectus/core";
import { type Database, type ExportWorker, startExportWorker } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import type { Telemetry } from "./telemetry.ts";
import { version } from "./version.ts";

export interface ExportsOptions {
  readonly config: Config;
  readonly database: Database;
  readonly storage: BlobStorage;
  readonly signingKey: SigningKey;
  readonly telemetry: Pick<Telemetry, "instruments" | "tracing">;
  readonly logging: Logging;
}

const hourMs = 60 * 60_000;

export function startExports(options: ExportsOptions): ExportWorker {
  const { config, database, storage, signingKey, telemetry, logging } = options;
  return startExportWorker({
    database,
    storage,
    signingKey,
    software: `ectus ${version}`,
    log: logging.module("exports"),
    instruments: telemetry.instruments,
    tracing: telemetry.tracing,
    concurrency: config.EXPORT_CONCURRENCY,
    bytesPerSecond: config.EXPORT_BYTES_PER_SECOND,
    ttlMs: config.EXPORT_TTL_HOURS * hourMs,
  });
}
