// What is kept of whom: every table and column once. Exports, retention and erasure are made from it, and it is
// compared with the live schema; docs/data-map.md is generated from it.
import type {
  ColumnEntry,
  DataClass,
  Erasure,
  MappedTable,
  RetentionClass,
  TableEntry,
} from "./data-map-entry.ts";

const column = (
  dataClass: DataClass,
  erasure: Erasure = "delete",
  exported: ColumnEntry["exported"] = true,
): ColumnEntry => ({ class: dataClass, erasure, exported });

const statedOnce = { withheld: "the same in every row; export.json says it once" };
/** The column by which a row is the tenant's. */
const tenant = column("identifier", "delete", statedOnce);
const identifier = column("identifier");
const operational = column("operational");
const content = column("content");
/** Of somebody else than the table's subject, or in a table that has none. */
const personalOf = (whose: string): ColumnEntry => ({ ...column("personal"), whose });
const contentOf = (whose: string): ColumnEntry => ({ ...content, whose });

const billing = { keep: "a business record; it says which key was used, and nothing of what was asked" };
const recorded = {
  keep: "the audit log is append-only, so that it can be relied on; an id leads to nobody once its row is gone",
};
const ofPlatform = { keep: "says nothing of a tenant" };

/** How long what a class has is kept, for people. */
export const retentionClasses: Readonly<Record<RetentionClass, string>> = {
  account: "as long as the tenant is a customer",
  content: "until the tenant deletes it",
  usage: "as long as books have to be kept",
  audit: "as long as claims can be made about what was done",
  exports:
    "the files of a bag until it expires (EXPORT_TTL_HOURS) or is deleted; that there was one, until it is deleted",
  working: "counts for minutes, and is overwritten or removed then",
  platform: "as long as the platform is run",
};

export const dataMap: { readonly [Table in MappedTable]: TableEntry<Table> } = {
  tenants: {
    about: "A customer, with its limits.",
    tenant: { column: "id" },
    key: [],
    time: null,
    subject: null,
    exported: true,
    retention: "account",
    columns: {
      id: tenant,
      name: personalOf("the tenant, if it is a person or is called after one"),
      state: operational,
      requests_per_minute: operational,
      tokens_per_minute: operational,
      monthly_token_budget: operational,
      created_at: operational,
      updated_at: operational,
    },
  },
  api_keys: {
    about: "An API key, without the key itself.",
    tenant: { column: "tenant_id" },
    key: ["id"],
    time: null,
    subject: null,
    exported: true,
    retention: "account",
    columns: {
      tenant_id: tenant,
      id: identifier,
      // "Ada's laptop".
      name: personalOf("whoever the tenant called the key after"),
      // The first ten characters of the key; some 210 bits of it stay unknown.
      prefix: identifier,
      digest: column("secret", "delete", {
        withheld: "what a key is checked against: it is of use only to the platform, or to try keys",
      }),
      scopes: operational,
      requests_per_minute: operational,
      tokens_per_minute: operational,
      created_at: operational,
      expires_at: operational,
      revoked_at: operational,
      last_used_at: operational,
    },
  },
  users: {
    about: "A person of the tenant.",
    tenant: { column: "tenant_id" },
    key: ["id"],
    time: { columns: ["created_at"] },
    subject: { columns: ["id", "email"] },
    exported: true,
    retention: "account",
    columns: {
      tenant_id: tenant,
      // It stands for the person wherever else it is.
      id: column("personal"),
      name: column("personal"),
      email: column("personal"),
      created_at: operational,
    },
  },
  completions: {
    about: "A stored chat completion, without its messages.",
    tenant: { column: "tenant_id" },
    key: ["id"],
    time: { columns: ["created_at"] },
    subject: { columns: ["end_user"] },
    exported: true,
    retention: "content",
    columns: {
      tenant_id: tenant,
      id: identifier,
      created_at: operational,
      model: operational,
      metadata: content,
      end_user: column("personal"),
      // Has the end user again, and fields of providers that the platform does not know.
      request: content,
      response: content,
      nul_replaced: operational,
    },
  },
  messages: {
    about: "A message of a stored chat completion: of its input, or of the answer.",
    tenant: { column: "tenant_id" },
    key: ["completion_id", "position"],
    time: { through: "completions", on: { completion_id: "id" } },
    subject: { through: "completions", on: { completion_id: "id" } },
    exported: true,
    retention: "content",
    columns: {
      tenant_id: tenant,
      completion_id: identifier,
      position: identifier,
      direction: operational,
      role: operational,
      body: content,
      finish_reason: operational,
      logprobs: content,
    },
  },
  files: {
    about: "An uploaded file; its contents are in the storage.",
    tenant: { column: "tenant_id" },
    key: ["id"],
    time: { columns: ["created_at"] },
    subject: null,
    exported: true,
    retention: "content",
    columns: {
      tenant_id: tenant,
      id: identifier,
      created_at: operational,
      filename: contentOf("whomever it names; the contents may be about anybody"),
      purpose: operational,
      // As the client said it, any text.
      content_type: content,
      bytes: operational,
      sha256: operational,
    },
  },
  usage: {
    about: "What one request used and cost.",
    tenant: { column: "tenant_id" },
    key: ["id", "created_at"],
    time: { columns: ["created_at"] },
    subject: null,
    exported: true,
    retention: "usage",
    columns: {
      tenant_id: column("identifier", billing, statedOnce),
      id: column("identifier", billing),
      created_at: column("operational", billing),
      api_key_id: column("identifier", billing),
      request_id: column("identifier", billing),
      operation: column("operational", billing),
      model: column("operational", billing),
      provider: column("operational", billing),
      outcome: column("operational", billing),
      streamed: column("operational", billing),
      input_tokens: column("operational", billing),
      output_tokens: column("operational", billing),
      cached_tokens: column("operational", billing),
      reasoning_tokens: column("operational", billing),
      charged_tokens: column("operational", billing),
      cost_usd: column("operational", billing),
      duration_ms: column("operational", billing),
    },
  },
  audit_log: {
    about: "What was done, by whom and when.",
    tenant: { column: "tenant_id" },
    key: ["id", "created_at"],
    time: { columns: ["created_at"] },
    subject: null,
    exported: true,
    retention: "audit",
    columns: {
      tenant_id: column("identifier", recorded, statedOnce),
      id: column("identifier", recorded),
      created_at: column("operational", recorded),
      actor_type: column("operational", recorded),
      actor_id: column("identifier", recorded),
      action: column("operational", recorded),
      target_type: column("operational", recorded),
      target_id: column("identifier", recorded),
      request_id: column("identifier", recorded),
      // What people wrote is in it only as the names of API keys that were made.
      details: {
        ...column("personal", {
          keep: "the audit log is append-only, so that it can be relied on; of what people wrote it has the names of API keys and nothing else",
        }),
        whose: "whoever the tenant called an API key after",
      },
    },
  },
  token_budgets: {
    about: "Tokens that were taken of a month's budget.",
    tenant: { column: "tenant_id" },
    key: ["month"],
    time: null,
    subject: null,
    exported: true,
    retention: "usage",
    columns: {
      // A sum of what is in usage, and what leases hold of the month. It goes with its tenant, to which it has a foreign key.
      tenant_id: tenant,
      month: identifier,
      committed: operational,
    },
  },
  token_leases: {
    about: "Tokens of a budget that an instance holds for minutes.",
    tenant: { column: "tenant_id" },
    key: ["month", "instance_id"],
    time: null,
    subject: null,
    exported: { withheld: "working state of instances for some minutes; what was used is in usage" },
    retention: "working",
    columns: {
      tenant_id: tenant,
      month: identifier,
      instance_id: identifier,
      tokens: operational,
      expires_at: operational,
    },
  },
  rate_windows: {
    about: "What a key has taken of the current minute.",
    tenant: { column: "tenant_id" },
    key: ["api_key_id"],
    time: null,
    subject: null,
    exported: { withheld: "working state of the current minute; what was used is in usage" },
    retention: "working",
    columns: {
      tenant_id: tenant,
      api_key_id: identifier,
      window_start: operational,
      requests: operational,
      tokens: operational,
    },
  },
  exports: {
    about: "An export of the tenant's data.",
    tenant: { column: "tenant_id" },
    key: ["id"],
    time: { columns: ["created_at"] },
    subject: null,
    exported: {
      withheld:
        "an export changes it while it is written; GET /v1/exports shows it, and the audit log says who asked for each and what became of it",
    },
    retention: "exports",
    columns: {
      tenant_id: tenant,
      id: identifier,
      created_at: operational,
      created_by_type: operational,
      created_by_id: identifier,
      // Has the correlation id of the request, which a client may choose.
      origin: contentOf("whomever its correlation id names; who made the request chose it"),
      idempotency_key: contentOf("whomever it names; who made the request chose it"),
      row_format: operational,
      compression: operational,
      scope: personalOf("the person whom the export is about, if it is about one"),
      state: operational,
      phase: operational,
      attempt: operational,
      interruptions: operational,
      worker_id: identifier,
      lease_until: operational,
      started_at: operational,
      rows_done: operational,
      rows_expected: operational,
      bytes_done: operational,
      bytes_expected: operational,
      finished_at: operational,
      expires_at: operational,
      bag_name: personalOf("the tenant, whose name is in it"),
      bag_digest: operational,
      error_code: operational,
      error_message: operational,
    },
  },
  export_parts: {
    about: "A file of an export's bag; its contents are in the storage.",
    tenant: { column: "tenant_id" },
    key: ["export_id", "path"],
    time: null,
    subject: null,
    exported: { withheld: "an export writes it while it runs; each bag lists its files" },
    retention: "exports",
    columns: {
      tenant_id: tenant,
      export_id: identifier,
      path: operational,
      kind: operational,
      blob_id: identifier,
      bytes: operational,
      sha256: operational,
      source: identifier,
      number: operational,
      row_count: operational,
      row_bytes: operational,
      row_digest: operational,
      last_key: identifier,
    },
  },
  signing_keys: {
    about: "The public half of a key that signs bags.",
    tenant: { none: "the platform's; GET /v1/signing-keys shows it to everybody" },
    key: ["kid"],
    time: null,
    subject: null,
    exported: { withheld: "the platform's; GET /v1/signing-keys shows it to everybody" },
    retention: "platform",
    columns: {
      kid: column("identifier", ofPlatform),
      public_key: column("operational", ofPlatform),
      created_at: column("operational", ofPlatform),
    },
  },
  schema_migrations: {
    about: "A migration that was applied.",
    tenant: { none: "the platform's: the state of its schema" },
    key: ["version"],
    time: null,
    subject: null,
    exported: { withheld: "the platform's; export.json has the version" },
    retention: "platform",
    columns: {
      version: column("identifier", ofPlatform),
      name: column("operational", ofPlatform),
      checksum: column("operational", ofPlatform),
      applied_at: column("operational", ofPlatform),
    },
  },
};

/** Tables that an export can have, the tenant's own row first; the audit log apart. */
export const exportedTables: readonly MappedTable[] = (Object.keys(dataMap) as MappedTable[]).filter(
  (table) => dataMap[table].exported === true && table !== "audit_log",
);

/** The columns that an export has of a table, its key first, then as the map has them. */
export function exportedColumns(table: MappedTable): readonly string[] {
  const { key, columns } = dataMap[table] as TableEntry;
  const names = Object.entries(columns as Readonly<Record<string, ColumnEntry>>)
    .filter(([, entry]) => entry.exported === true)
    .map(([name]) => name);
  return [...key, ...names.filter((name) => !(key as readonly string[]).includes(name))];
}
