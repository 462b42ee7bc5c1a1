export { underAdvisoryLock } from "./advisory-lock.ts";
export * from "./database.ts";
export { isConnectionError, isPassingError } from "./database-errors.ts";
export * from "./embedded-postgres.ts";
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
export * from "./queries/files.ts";
export * from "./queries/find-api-key.ts";
export { findTenantsByName } from "./queries/find-tenants-by-name.ts";
export * from "./queries/lease-rate.ts";
export * from "./queries/settle.ts";
export * from "./queries/tenants.ts";
export * from "./queries/token-leases.ts";
export { appRole, createLoginRoles, ownerRole } from "./roles.ts";
export { findRunningPostgres, type RunningPostgres, stopPostgresAtOnce } from "./running-postgres.ts";
export type { DB } from "./schema.ts";
export type { CopyOut } from "./session.ts";
export type { TableName } from "./statement-kind.ts";
