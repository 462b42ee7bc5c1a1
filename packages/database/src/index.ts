export { underAdvisoryLock } from "./advisory-lock.ts";
export type { CopyOut } from "./copy-out.ts";
export { dataMap, exportedColumns, exportedTables, retentionClasses } from "./data-map.ts";
export * from "./data-map-check.ts";
export type * from "./data-map-entry.ts";
export * from "./database.ts";
export { isConnectionError, isPassingError } from "./database-errors.ts";
export * from "./embedded-postgres.ts";
export { type ExportStore, newCounts, runExport } from "./export.ts";
export { measureOldestExport } from "./export-metrics.ts";
export { type ExportWorker, startExportWorker } from "./export-worker.ts";
export { findUnfinishedImports, whileNotImported } from "./import/import-records.ts";
export * from "./import.ts";
export {
  type DatabaseFacts,
  findSchemaFault,
  inspectDatabase,
  type PartitionFacts,
} from "./inspect-database.ts";
export { type JobDefinition, type Jobs, startJobs } from "./jobs.ts";
export type { Listener } from "./listener.ts";
export { migrate } from "./migrate.ts";
export * from "./queries/api-keys.ts";
export * from "./queries/append-audit.ts";
export * from "./queries/completions.ts";
export * from "./queries/export-work.ts";
export * from "./queries/exports.ts";
export * from "./queries/files.ts";
export * from "./queries/find-api-key.ts";
export { findTenantsByName } from "./queries/find-tenants-by-name.ts";
export * from "./queries/lease-rate.ts";
export * from "./queries/settle.ts";
export * from "./queries/signing-keys.ts";
export * from "./queries/tenants.ts";
export * from "./queries/token-leases.ts";
export { appRole, createLoginRoles, ownerRole } from "./roles.ts";
export { findRunningPostgres, type RunningPostgres, stopPostgresAtOnce } from "./running-postgres.ts";
export type { DB } from "./schema.ts";
export type { CopyRows, RowBlock, Snapshot, SnapshotOptions, SnapshotReader } from "./snapshot.ts";
export type { TableName } from "./statement-kind.ts";
