// A whole API for tests: the real server on a database of its own, with a double of an upstream as its provider and a
// temporary folder as its storage.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type CircuitOptions,
  createEngine,
  createProviders,
  type ModelConfig,
  type ProvidersConfig,
} from "@ectus/ai-engine";
import { apiKeyDigest, apiKeyPrefix, createApiKey, createLogging, type LogLevel } from "@ectus/core";
import {
  createTenant,
  type Database,
  insertApiKey,
  openDatabase,
  platformTenantId,
  type Scope,
  type TenantLimits,
  updateTenant,
} from "@ectus/database";
import { openStorage } from "@ectus/storage";
import { type Server, type ServerOptions, startServer } from "@ectus/web-api";
import OpenAI, { type ClientOptions } from "openai";
import pg from "pg";
import { startUpstream, type Upstream } from "../openai-upstream/upstream.ts";
import { createTestDatabase } from "../postgres/test-database.ts";

export interface TestTenant {
  readonly id: string;
  /** With the scope `inference`. */
  readonly key: string;
  readonly client: OpenAI;
}

export interface TestApi {
  readonly url: string;
  readonly server: Server;
  /** What the server was started with. */
  readonly serverOptions: ServerOptions;
  readonly database: Database;
  readonly upstream: Upstream;
  readonly storageDir: string;
  /** With the scope `operator`. */
  readonly operatorKey: string;
  /** What was logged, one JSON object a line. */
  readonly logLines: readonly string[];
  makeTenant(limits?: TenantLimits): Promise<TestTenant>;
  makeKey(tenantId: string, scopes: readonly Scope[], expiresAt?: Date): Promise<{ id: string; key: string }>;
  suspend(tenantId: string): Promise<void>;
  /** The official client. It does not try again by itself. */
  client(key: string, options?: ClientOptions): OpenAI;
  /** A request as JSON; `key` null sends none. */
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>;
  /** Runs SQL as the owner of the schema, who sees all tenants. */
  sql<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  close(graceMs?: number): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface RequestOptions {
  readonly key?: string | null;
  /** An object is sent as JSON, a text as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test says by its assertions what the answer is.
  readonly json: any;
}

export interface TestApiOptions
  extends Partial<
    Pick<
      ServerOptions,
      "instruments" | "tracing" | "traceTrustedPeers" | "maxFileBytes" | "stallMs" | "storage"
    >
  > {
  /** The application's database URL; a new test database by default. */
  readonly databaseUrl?: string;
  /** The owner's URL of the same. */
  readonly ownerUrl?: string;
  readonly poolSize?: number;
  /** In place of the double and its models. */
  readonly providers?: ProvidersConfig;
  readonly timeoutMs?: number;
  readonly streamIdleTimeoutMs?: number;
  readonly logLevel?: LogLevel;
}

export const chatModel = "test-chat";
export const embeddingModel = "test-embedding";
const apiKeySecret = "a secret of the tests, which is long enough";

const system = { actor: { type: "system" } } as const;
const defaultModel: ModelConfig = {
  operations: ["chat"],
  contextTokens: 8_192,
  maxOutputTokens: 1_024,
  price: { inputPerMillionUsd: 1, outputPerMillionUsd: 2 },
  ownedBy: "tests",
  routes: [{ provider: "double", model: "upstream-chat" }],
};
const doubleModels: ProvidersConfig["models"] = new Map([
  [chatModel, defaultModel],
  [
    embeddingModel,
    {
      ...defaultModel,
      operations: ["embeddings"],
      routes: [{ provider: "double", model: "upstream-embedding" }],
    },
  ],
]);

export async function startApi(options: TestApiOptions = {}): Promise<TestApi> {
  const {
    databaseUrl,
    ownerUrl,
    poolSize = 5,
    logLevel = "info",
    providers: givenProviders,
    timeoutMs = 10_000,
    streamIdleTimeoutMs = 10_000,
    ...given
  } = options;
  const logLines: string[] = [];
  const logging = createLogging({
    levels: { default: logLevel, modules: {} },
    format: "json",
    destination: { write: (line) => void logLines.push(line) },
  });
  await using started = new AsyncDisposableStack();

  const [upstream, testDatabase, folder] = await Promise.all([
    startUpstream(),
    databaseUrl === undefined ? createTestDatabase() : undefined,
    mkdtemp(join(tmpdir(), "ectus-api-")),
  ]);
  started.defer(() => rm(folder, { recursive: true, force: true }));
  if (testDatabase !== undefined) started.defer(() => testDatabase.drop());
  started.defer(() => upstream.close());
  const owner = new pg.Pool({ connectionString: ownerUrl ?? testDatabase?.ownerUrl, max: 2 });
  // A database that is stopped or dropped ends these connections too, also those that the pool has let go.
  owner.on("error", () => {}).on("connect", (client) => client.on("error", () => {}));
  started.defer(() => owner.end());
  const database = openDatabase({
    url: databaseUrl ?? (testDatabase?.appUrl as string),
    poolSize,
    log: logging.module("database"),
  });
  started.defer(() => database.close());
  const log = logging.module("ai-engine");
  const config: ProvidersConfig = givenProviders ?? {
    providers: new Map([
      [
        "double",
        {
          type: "openai",
          baseUrl: upstream.baseUrl,
          apiKey: "sk-of-the-upstream",
          headers: {},
          timeoutMs,
          streamIdleTimeoutMs,
          maxConcurrent: 1_000,
          queue: 100,
          retries: 0,
        },
      ],
    ]),
    models: doubleModels,
  };
  const measured = given.instruments === undefined ? {} : { instruments: given.instruments };
  const providers = await createProviders({ config, log, ...measured });
  const engine = createEngine({ config, providers, log, circuit: neverOpen, ...measured });
  started.defer(() => engine.close());
  const serverOptions: ServerOptions = {
    host: "127.0.0.1",
    port: 0,
    trustedProxies: [],
    apiKeySecrets: [apiKeySecret],
    version: "0.0.0-test",
    database,
    engine,
    logging,
    ...given,
    storage: given.storage ?? (await openStorage(pathToFileURL(folder).href)),
  };
  const server = await startServer(serverOptions);
  let graceMs = 0;
  started.defer(() => server.close(graceMs));

  async function makeKey(tenantId: string, scopes: readonly Scope[], expiresAt?: Date) {
    const key = createApiKey();
    const { id } = await insertApiKey(
      database,
      {
        tenantId,
        name: "A test's key",
        prefix: apiKeyPrefix(key),
        digest: apiKeyDigest(key, apiKeySecret),
        scopes,
        ...(expiresAt === undefined ? {} : { expiresAt }),
      },
      system,
    );
    return { id, key };
  }
  const client = (apiKey: string, clientOptions: ClientOptions = {}): OpenAI =>
    new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0, ...clientOptions });

  const { key: operatorKey } = await makeKey(platformTenantId, ["operator"]);
  const running = started.move();
  const close = async (grace = 0): Promise<void> => {
    graceMs = grace;
    await running.disposeAsync();
  };
  return {
    url: server.url,
    server,
    serverOptions,
    database,
    upstream,
    storageDir: folder,
    operatorKey,
    logLines,
    client,
    makeKey,
    async makeTenant(limits = {}) {
      const { id } = await createTenant(database, { name: "A test's tenant", ...limits }, system);
      const { key } = await makeKey(id, ["inference"]);
      return { id, key, client: client(key) };
    },
    async suspend(tenantId) {
      await updateTenant(database, tenantId, { state: "suspended" }, system);
    },
    request: (method, path, request) => send(server.url, method, path, request),
    sql: async (text, values = []) => (await owner.query(text, [...values])).rows,
    close,
    [Symbol.asyncDispose]: close,
  };
}

// Tests let the provider fail often; the circuit has tests of its own.
const neverOpen: CircuitOptions = {
  consecutiveFailures: 1_000_000,
  failureRatio: 1,
  minimumCalls: 1_000_000,
  windowMs: 1_000,
  coolDownMs: 1,
};

async function send(
  url: string,
  method: string,
  path: string,
  { key = null, body, headers = {} }: RequestOptions = {},
): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Not everything is JSON: the tests that expect it will say so.
  }
  return { status: response.status, headers: response.headers, text, json };
}
