// Every coded error of the platform: HTTP status, OpenAI error type and message. docs/errors.md lists the same codes.

/** Facts that an error's message, `param` and headers are made from. */
export interface ErrorDetails {
  /** The request field or parameter that is at fault. */
  readonly param?: string;
  /** Seconds after which a retry makes sense; sent as `Retry-After`. */
  readonly retryAfterSeconds?: number;
  readonly [fact: string]: unknown;
}

/** OpenAI's error types, which its clients and users know. */
export type ErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "permission_error"
  | "rate_limit_error"
  | "insufficient_quota"
  | "server_error";

interface ErrorDefinition {
  readonly status: number;
  readonly type: ErrorType;
  readonly message: (details: ErrorDetails) => string;
}

const define = <const T extends Record<string, ErrorDefinition>>(codes: T): T => codes;

export const errorCodes = define({
  // Requests that cannot be understood
  invalid_json: {
    status: 400,
    type: "invalid_request_error",
    message: (d) =>
      `The request body is not valid JSON${d.reason ? `: ${d.reason}` : ""}. Send a JSON object.`,
  },
  invalid_request: {
    status: 400,
    type: "invalid_request_error",
    message: (d) => `${d.reason ?? "The request is not valid."}`,
  },
  invalid_text: {
    status: 400,
    type: "invalid_request_error",
    message: (d) =>
      `${d.param ?? "A text"} contains ${d.character ?? "the character U+0000"}, which cannot be stored. Remove it and send the request again.`,
  },
  unsupported_media_type: {
    status: 415,
    type: "invalid_request_error",
    message: (d) =>
      `The content type ${JSON.stringify(d.got ?? "")} is not accepted here. Send ${d.accepts}.`,
  },
  request_too_large: {
    status: 413,
    type: "invalid_request_error",
    message: (d) => `The request is larger than ${d.limitBytes} bytes, the most that is accepted here.`,
  },
  malformed_request: {
    status: 400,
    type: "invalid_request_error",
    message: () => "This is not a valid HTTP request.",
  },
  request_timeout: {
    status: 408,
    type: "invalid_request_error",
    message: () => "The request did not arrive in time. Send it again.",
  },
  headers_too_large: {
    status: 431,
    type: "invalid_request_error",
    message: () => "The headers of the request are too large. Send fewer or shorter ones.",
  },
  context_length_exceeded: {
    status: 400,
    type: "invalid_request_error",
    message: (d) =>
      `This model's context holds ${d.contextTokens} tokens, but the request needs ${d.requestedTokens}. Shorten the messages or lower max_tokens.`,
  },

  // Who is asking
  missing_api_key: {
    status: 401,
    type: "authentication_error",
    message: () => "No API key was given. Send it in the header 'Authorization: Bearer sk-…'.",
  },
  invalid_api_key: {
    status: 401,
    type: "authentication_error",
    message: () => "The API key is not valid. Check it for typing errors, or ask for a new one.",
  },
  api_key_expired: {
    status: 401,
    type: "authentication_error",
    message: () => "The API key has expired. Ask for a new one.",
  },
  tenant_suspended: {
    status: 403,
    type: "permission_error",
    message: () => "This account is suspended. Ask the operator of this API.",
  },
  permission_denied: {
    status: 403,
    type: "permission_error",
    message: (d) => `This API key lacks the scope '${d.scope}', which this endpoint needs.`,
  },

  // What was asked for is not there
  not_found: {
    status: 404,
    type: "invalid_request_error",
    message: (d) => (d.id ? `No ${d.what} with id '${d.id}'.` : `No such ${d.what ?? "object"}.`),
  },
  unknown_url: {
    status: 404,
    type: "invalid_request_error",
    message: (d) => `Unknown request URL: ${d.method} ${d.path}. See /docs for the endpoints.`,
  },
  method_not_allowed: {
    status: 405,
    type: "invalid_request_error",
    message: (d) => `${d.method} is not allowed here. Use ${d.accepts}.`,
  },
  model_not_found: {
    status: 404,
    type: "invalid_request_error",
    message: (d) => `The model '${d.model}' does not exist here. GET /v1/models lists those that do.`,
  },
  unsupported_operation: {
    status: 400,
    type: "invalid_request_error",
    message: (d) => `The model '${d.model}' does not do ${d.operation}.`,
  },
  conflict: {
    status: 409,
    type: "invalid_request_error",
    message: (d) => `${d.reason ?? "The object is in a state that does not allow this."}`,
  },

  idempotency_mismatch: {
    status: 409,
    type: "invalid_request_error",
    message: () =>
      "The Idempotency-Key was used before, for another request. Use a new key, or send the same request.",
  },
  export_not_ready: {
    status: 409,
    type: "invalid_request_error",
    message: (d) =>
      `The export is ${d.state}, so there is nothing to download${d.reason ? `: ${d.reason}` : ". Wait until its state is ready."}`,
  },
  export_expired: {
    status: 410,
    type: "invalid_request_error",
    message: (d) => `The export expired at ${d.expiredAt} and was removed. Ask for a new one.`,
  },
  range_not_satisfiable: {
    status: 416,
    type: "invalid_request_error",
    message: (d) => `The range begins after the end: there are ${d.bytes} bytes.`,
  },

  // Limits
  too_many_exports: {
    status: 429,
    type: "rate_limit_error",
    message: (d) =>
      `There are ${d.limit} exports that wait or run, the most at a time. Wait for one of them, or delete it.`,
  },
  rate_limit_exceeded: {
    status: 429,
    type: "rate_limit_error",
    message: (d) =>
      `Rate limit of ${d.limit} ${d.unit} per minute reached. Try again in ${d.retryAfterSeconds} seconds.`,
  },
  insufficient_quota: {
    status: 429,
    type: "insufficient_quota",
    message: (d) =>
      `The token budget of this month leaves ${d.remaining} tokens, and this request may need ${d.needed}. Lower max_tokens, or ask the operator for a larger budget.`,
  },
  overloaded: {
    status: 429,
    type: "rate_limit_error",
    message: (d) =>
      `Too many requests are waiting for ${d.what ?? "this model"}. Try again in ${d.retryAfterSeconds ?? 1} seconds.`,
  },

  // What is behind this API
  upstream_rate_limited: {
    status: 429,
    type: "rate_limit_error",
    message: (d) =>
      `The provider '${d.provider}' limits its rate. Try again in ${d.retryAfterSeconds ?? 1} seconds.`,
  },
  upstream_rejected: {
    status: 400,
    type: "invalid_request_error",
    message: (d) => `The provider '${d.provider}' refused the request: ${d.reason}`,
  },
  upstream_error: {
    status: 502,
    type: "server_error",
    message: (d) => `The provider '${d.provider}' failed: ${d.reason}.`,
  },
  upstream_timeout: {
    status: 504,
    type: "server_error",
    message: (d) => `The provider '${d.provider}' did not answer within ${d.timeoutMs} ms.`,
  },
  stream_interrupted: {
    status: 502,
    type: "server_error",
    message: (d) => `The answer of the provider '${d.provider}' was cut off before its end: ${d.reason}.`,
  },
  provider_unavailable: {
    status: 503,
    type: "server_error",
    message: (d) =>
      `No provider of the model '${d.model}' is available now. Try again in ${d.retryAfterSeconds ?? 5} seconds.`,
  },
  model_unavailable: {
    status: 503,
    type: "server_error",
    message: (d) => `The model '${d.model}' cannot be served: ${d.reason}.`,
  },
  client_closed_request: {
    status: 499,
    type: "invalid_request_error",
    message: () => "The client closed the connection before the answer was complete.",
  },

  // This platform itself
  database_unavailable: {
    status: 503,
    type: "server_error",
    message: (d) => `${d.reason ?? "The database cannot be reached"}. Try again in a few seconds.`,
  },
  storage_full: {
    status: 507,
    type: "server_error",
    message: () => "The storage is full. The operator has to make room.",
  },
  storage_error: {
    status: 500,
    type: "server_error",
    message: (d) => `The storage failed: ${d.reason}.`,
  },
  check_timeout: {
    status: 503,
    type: "server_error",
    message: (d) => `No answer within ${d.timeoutMs} ms.`,
  },
  shutting_down: {
    status: 503,
    type: "server_error",
    message: () => "This server is stopping. Send the request again; another one will answer it.",
  },
  internal_error: {
    status: 500,
    type: "server_error",
    message: () => "Something failed here that should not have. Give the operator the request id.",
  },

  // Exports
  export_incomplete: {
    status: 500,
    type: "server_error",
    message: (d) => `The export was given up, since it would not have been complete: ${d.reason}.`,
  },
  export_superseded: {
    status: 409,
    type: "server_error",
    message: () => "The export was deleted, or another worker has taken it up.",
  },
  data_map_mismatch: {
    status: 500,
    type: "server_error",
    message: (d) => `The data map does not fit the database, so nobody can say what is whose:\n${d.faults}`,
  },
  bag_invalid: {
    status: 400,
    type: "invalid_request_error",
    message: (d) => `This is not a whole and unchanged export: ${d.reason}`,
  },
  import_refused: {
    status: 409,
    type: "invalid_request_error",
    message: (d) => `The export cannot be imported: ${d.reason}`,
  },

  // Start and command line
  invalid_config: {
    status: 500,
    type: "server_error",
    message: (d) => `The configuration is not valid:\n${d.faults}`,
  },
  schema_mismatch: {
    status: 500,
    type: "server_error",
    message: (d) => `The database schema does not fit this version: ${d.reason}`,
  },
  data_dir_in_use: {
    status: 500,
    type: "server_error",
    message: (d) =>
      `The folder ${d.dir} is in use by another Ectus${d.pid ? ` (process ${d.pid})` : ""}. Stop that one, or choose another --data-dir.`,
  },
  port_in_use: {
    status: 500,
    type: "server_error",
    message: (d) =>
      `Port ${d.port} is used by another program. Stop that one, or choose another with --port; --port 0 takes a free one.`,
  },
  database_unreachable: {
    status: 500,
    type: "server_error",
    message: (d) =>
      `The database at ${d.address} cannot be reached: ${d.reason}. Check DATABASE_URL, and that PostgreSQL runs there.`,
  },
  embedded_postgres_failed: {
    status: 500,
    type: "server_error",
    message: (d) => `The embedded PostgreSQL failed: ${d.reason}`,
  },
  invalid_expression: {
    status: 400,
    type: "invalid_request_error",
    message: (d) =>
      `The PromQL expression cannot be read: at its character ${Number(d.offset) + 1}, ${d.reason}.`,
  },
  invalid_rule_file: {
    status: 400,
    type: "invalid_request_error",
    message: (d) => `The rule file ${d.path} is not valid:\n${d.faults}`,
  },
  peer_missing: {
    status: 500,
    type: "server_error",
    message: (d) => `${d.reason}`,
  },
  program_missing: {
    status: 500,
    type: "server_error",
    message: (d) =>
      `Programs that this needs were not found:\n${d.programs}\nGet them with: npm run peers ${d.peers}. Or install them where PATH finds them.`,
  },
  program_failed: {
    status: 500,
    type: "server_error",
    message: (d) => `${d.reason}`,
  },
  invalid_alertmanager_config: {
    status: 400,
    type: "invalid_request_error",
    message: (d) => `Alertmanager's configuration ${d.path} is not valid:\n${d.faults}`,
  },
  notification_missing: {
    status: 500,
    type: "server_error",
    message: (d) => `The notification did not come within ${d.timeoutMs} ms. What came: ${d.seen}.`,
  },
});

export type ErrorCode = keyof typeof errorCodes;
