// Types of the database's tables and views, made from the migrated schema by render-schema.ts; do not edit.
import type { ColumnType, Generated } from "kysely";

export interface ApiKeys {
  tenant_id: string;
  id: string;
  name: string;
  prefix: string;
  digest: Buffer;
  scopes: string[];
  requests_per_minute: number | null;
  tokens_per_minute: number | null;
  created_at: ColumnType<Date, Date | string | undefined, Date | string>;
  expires_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  revoked_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  last_used_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
}

export interface AuditLog {
  tenant_id: string;
  id: string;
  created_at: ColumnType<Date, Date | string | undefined, Date | string>;
  actor_type: "api_key" | "operator" | "system";
  actor_id: string | null;
  action: string;
  target_type: string;
  target_id: string | null;
  request_id: string | null;
  details: ColumnType<unknown, string | undefined, string>;
}

export interface Completions {
  tenant_id: string;
  id: string;
  created_at: ColumnType<Date, Date | string, Date | string>;
  model: string;
  metadata: ColumnType<unknown, string | undefined, string>;
  end_user: string | null;
  request: ColumnType<unknown, string, string>;
  response: ColumnType<unknown, string, string>;
  nul_replaced: Generated<boolean>;
}

export interface ExportParts {
  tenant_id: string;
  export_id: string;
  path: string;
  kind: "rows" | "file" | "tag";
  blob_id: string;
  bytes: number;
  sha256: Buffer;
  source: string | null;
  number: number | null;
  row_count: number | null;
  row_bytes: number | null;
  row_digest: string | null;
  last_key: ColumnType<unknown | null, string | null | undefined, string | null>;
}

export interface Exports {
  tenant_id: string;
  id: string;
  created_at: ColumnType<Date, Date | string | undefined, Date | string>;
  created_by_type: "api_key" | "operator";
  created_by_id: string | null;
  origin: ColumnType<unknown | null, string | null | undefined, string | null>;
  idempotency_key: string | null;
  row_format: "ndjson" | "csv";
  compression: "none" | "gzip" | "zstd";
  scope: ColumnType<unknown, string, string>;
  state: Generated<"queued" | "running" | "ready" | "failed" | "expired">;
  phase: Generated<"waiting" | "snapshot" | "tables" | "audit_log" | "files" | "verifying" | "sealing" | "done">;
  attempt: Generated<number>;
  interruptions: Generated<number>;
  worker_id: string | null;
  lease_until: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  started_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  rows_done: Generated<number>;
  rows_expected: number | null;
  bytes_done: Generated<number>;
  bytes_expected: number | null;
  finished_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  expires_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  bag_name: string | null;
  bag_digest: Buffer | null;
  error_code: string | null;
  error_message: string | null;
}

export interface Files {
  tenant_id: string;
  id: string;
  created_at: ColumnType<Date, Date | string | undefined, Date | string>;
  filename: string;
  purpose: string;
  content_type: string;
  bytes: number;
  sha256: Buffer;
}

export interface Messages {
  tenant_id: string;
  completion_id: string;
  position: number;
  direction: "input" | "output";
  role: string;
  body: ColumnType<unknown, string, string>;
  finish_reason: string | null;
  logprobs: ColumnType<unknown | null, string | null | undefined, string | null>;
}

export interface RateWindows {
  tenant_id: string;
  api_key_id: string;
  window_start: ColumnType<Date, Date | string, Date | string>;
  requests: Generated<number>;
  tokens: Generated<number>;
}

export interface SchemaMigrations {
  version: number;
  name: string;
  checksum: string;
  applied_at: ColumnType<Date, Date | string | undefined, Date | string>;
}

export interface SigningKeys {
  kid: string;
  public_key: Buffer;
  created_at: ColumnType<Date, Date | string | undefined, Date | string>;
}

export interface Tenants {
  id: string;
  name: string;
  state: Generated<"active" | "suspended">;
  requests_per_minute: number | null;
  tokens_per_minute: number | null;
  monthly_token_budget: number | null;
  created_at: ColumnType<Date, Date | string | undefined, Date | string>;
  updated_at: ColumnType<Date, Date | string | undefined, Date | string>;
}

export interface TokenBudgets {
  tenant_id: string;
  month: string;
  committed: Generated<number>;
}

export interface TokenLeases {
  tenant_id: string;
  month: string;
  instance_id: string;
  tokens: number;
  expires_at: ColumnType<Date, Date | string, Date | string>;
}

export interface TokenSpending {
  tenant_id: string | null;
  month: string | null;
  spent: number | null;
  leased: number | null;
}

export interface Usage {
  tenant_id: string;
  id: string;
  created_at: ColumnType<Date, Date | string, Date | string>;
  api_key_id: string;
  request_id: string;
  operation: string;
  model: string;
  provider: string;
  outcome: "completed" | "client_closed" | "interrupted";
  streamed: boolean;
  input_tokens: number | null;
  output_tokens: number | null;
  cached_tokens: number | null;
  reasoning_tokens: number | null;
  charged_tokens: number;
  cost_usd: string | null;
  duration_ms: number;
}

export interface Users {
  tenant_id: string;
  id: string;
  name: string;
  email: string;
  created_at: ColumnType<Date, Date | string | undefined, Date | string>;
}

export interface DB {
  api_keys: ApiKeys;
  audit_log: AuditLog;
  completions: Completions;
  export_parts: ExportParts;
  exports: Exports;
  files: Files;
  messages: Messages;
  rate_windows: RateWindows;
  schema_migrations: SchemaMigrations;
  signing_keys: SigningKeys;
  tenants: Tenants;
  token_budgets: TokenBudgets;
  token_leases: TokenLeases;
  token_spending: TokenSpending;
  usage: Usage;
  users: Users;
}
