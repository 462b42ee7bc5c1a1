// Puts the HTTP API together: plugins in the order in which a request passes them, then the routes.
import type { AddressInfo } from "node:net";

import type { Engine } from "@ectus/ai-engine";
import type { Logger, Logging, LogSample } from "@ectus/core";
import type { Database } from "@ectus/database";
import { type Instruments, noInstruments, noTracing, type Tracing } from "@ectus/monitoring";
import type { BlobStorage } from "@ectus/storage";
import multipart from "@fastify/multipart";
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import { fastify } from "fastify";
import { type Accounting, createAccounting } from "./accounting.ts";
import type { App } from "./app.ts";
import { type ClientSignals, createClientSignals } from "./client-signal.ts";
import { defaultStallMs } from "./event-stream.ts";
import { createKeyCache, type KeyCache } from "./key-cache.ts";
import { createRateLimits } from "./limits/rate-limits.ts";
import { createTokenBudgets } from "./limits/token-budgets.ts";
import { addAuthentication } from "./middleware/authentication.ts";
import { addErrorHandler, sendError, toEctusError } from "./middleware/error-handler.ts";
import { addGatewayOverhead } from "./middleware/gateway-overhead.ts";
import { addJsonBody, mostJsonBytes } from "./middleware/json-body.ts";
import {
  createMalformedRequestHandler,
  type MalformedRequestHandler,
} from "./middleware/malformed-requests.ts";
import { addObservability, type Observability } from "./middleware/observability.ts";
import { addShutdown, type Shutdown, shuttingDown } from "./middleware/shutdown.ts";
import { addUnreadAnswers } from "./middleware/unread-answers.ts";
import { type RouteInfo, type RouteTable, recordRoutes } from "./route-table.ts";
import { addChatCompletions } from "./routes/chat-completions.ts";
import { addEmbeddings } from "./routes/embeddings.ts";
import { addExports } from "./routes/export.ts";
import { addFiles, defaultMaxFileBytes } from "./routes/files.ts";
import { addHealth } from "./routes/health.ts";
import { addLogLevels } from "./routes/log-levels.ts";
import { addModels } from "./routes/models.ts";
import { addSigningKeys } from "./routes/signing-keys.ts";
import { addStoredCompletions } from "./routes/stored-completions.ts";
import { addTenants } from "./routes/tenants.ts";
import { createSettlements } from "./settlements.ts";
import { createValidatorCompiler } from "./validator.ts";

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly trustedProxies: readonly string[];
  /** Secrets of API keys, the newest first. */
  readonly apiKeySecrets: readonly [string, ...string[]];
  readonly version: string;
  readonly database: Database;
  readonly storage: BlobStorage;
  readonly engine: Engine;
  readonly logging: Logging;
  /** Where requests are measured; nowhere by default. */
  readonly instruments?: Instruments;
  /** Where requests are traced; nowhere by default. */
  readonly tracing?: Tracing;
  /** Addresses and CIDR ranges of callers whose decision to keep a trace is believed. */
  readonly traceTrustedPeers?: readonly string[];
  /** Milliseconds after which a request is slow; 1,000 by default. */
  readonly slowRequestMs?: number;
  /** Milliseconds after which the answer of inference should have begun; 10,000 by default. */
  readonly slowInferenceMs?: number;
  /** By a route's pattern, which of its access lines are logged; `*` for any other. All by default. */
  readonly logSample?: ReadonlyMap<string, LogSample>;
  /** Bytes that one uploaded file may have; 512 MiB by default, as with OpenAI. */
  readonly maxFileBytes?: number;
  /** How long the client of a stream or of a large answer may take nothing before it is cut; 60,000 by default. */
  readonly stallMs?: number;
}

export interface Server {
  /** As a client on this machine reaches it: `http://127.0.0.1:8080`. */
  readonly url: string;
  /** What it answers to. */
  readonly routes: readonly RouteInfo[];
  /** Requests that are not over. */
  readonly inProgress: number;
  /**
   * Refuses new requests, lets those in progress end within `graceMs`, then ends them with an error; commits
   * everything and closes.
   */
  close(graceMs?: number): Promise<void>;
}

const defaultSlowRequestMs = 1_000;
const defaultSlowInferenceMs = 10_000;
const defaultGraceMs = 30_000;
// Requests that are cut still settle and tell their clients.
const cutGraceMs = 5_000;
// An upload of the largest file over a slow line.
const requestTimeoutMs = 60 * 60_000;

/** Starts the API. What it is given stays the caller's to close. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { database, logging, apiKeySecrets } = options;
  const log = logging.module("web-api");
  const settlements = createSettlements({ database, log });
  const budgets = createTokenBudgets({ database, instanceId: settlements.instanceId, log });
  const keys = createKeyCache({
    database,
    secrets: apiKeySecrets,
    log,
    onTenantChange: (tenantId) => {
      budgets
        .release(tenantId)
        .catch((error) => log.warn({ err: error }, "a token lease could not be given back"));
    },
  });
  const closeAccounts = async (): Promise<void> => {
    await settlements.close();
    await budgets.close();
    await keys.close();
  };
  const accounting = createAccounting({ rates: createRateLimits(database), budgets, settlements });
  const malformed = createMalformedRequestHandler(log);
  const app = createApp(options, malformed, log);
  try {
    const parts = await addParts(app, options, { keys, accounting, log });
    malformed.watch(app.server, parts.observability.refused);
    await app.listen({ host: options.host, port: options.port });
    return handle(app, parts, closeAccounts);
  } catch (error) {
    await app.close();
    await closeAccounts();
    throw error;
  }
}

interface Parts {
  readonly table: RouteTable;
  readonly signals: ClientSignals;
  readonly shutdown: Shutdown;
  readonly observability: Observability;
}

function handle(app: App, parts: Parts, closeAccounts: () => Promise<void>): Server {
  const { table, signals, shutdown } = parts;
  const { exchanges } = parts.observability;
  const { port } = app.server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    routes: table.routes,
    get inProgress() {
      return exchanges.inProgress;
    },
    async close(graceMs = defaultGraceMs) {
      shutdown.begin();
      if (!(await shutdown.drained(graceMs))) {
        signals.abortAll(shuttingDown());
        shutdown.cutUnread();
        await shutdown.drained(cutGraceMs);
      }
      const closing = app.close();
      app.server.closeAllConnections();
      await closing;
      await closeAccounts();
    },
  };
}

/** Adds what a request passes, in the order in which it passes it. */
async function addParts(
  app: App,
  options: ServerOptions,
  { keys, accounting, log }: { keys: KeyCache; accounting: Accounting; log: Logger },
): Promise<Parts> {
  const { database, storage, engine, apiKeySecrets } = options;
  const { maxFileBytes = defaultMaxFileBytes, stallMs = defaultStallMs } = options;
  const { logging, instruments = noInstruments, tracing = noTracing, traceTrustedPeers = [] } = options;
  const { slowRequestMs = defaultSlowRequestMs, slowInferenceMs = defaultSlowInferenceMs } = options;
  const { logSample = new Map() } = options;
  const signals = createClientSignals();
  // Answers are made by this program; their schemas are documentation, and what a provider adds must not be cut off.
  app.setSerializerCompiler(() => (answer) => JSON.stringify(answer));
  app.setValidatorCompiler(createValidatorCompiler());
  const table = recordRoutes(app);
  const observability = addObservability(app, {
    logging,
    instruments,
    tracing,
    traceTrustedPeers,
    slowRequestMs,
    slowInferenceMs,
    logSample,
  });
  addGatewayOverhead(app, instruments);
  const shutdown = addShutdown(app, observability.exchanges);
  addErrorHandler(app, table, log);
  addAuthentication(app, keys);
  addJsonBody(app);
  addUnreadAnswers(app, stallMs);
  await app.register(multipart, {
    // One byte more than is accepted, so that a file that is too large is told from one that just fits.
    limits: { files: 2, fields: 16, fileSize: maxFileBytes + 1, fieldSize: 64 * 1024 },
    throwFileSizeLimit: false,
  });
  await addDocs(app, options.version);
  await app.register(async (routes: App) => {
    addHealth(routes, [
      { name: "server", check: async () => refuseWhileStopping(shutdown) },
      { name: "database", check: () => database.ping() },
    ]);
    addModels(routes, engine);
    addChatCompletions(routes, { engine, accounting, signals, stallMs, log });
    addStoredCompletions(routes, database);
    addEmbeddings(routes, { engine, accounting, signals });
    addFiles(routes, { database, storage, signals, maxFileBytes, log });
    addExports(routes, { database, storage, signals, stallMs, log });
    addSigningKeys(routes, database);
    addTenants(routes, { database, apiKeySecret: apiKeySecrets[0] });
    addLogLevels(routes, { database, logging: options.logging });
  });
  return { table, signals, shutdown, observability };
}

function refuseWhileStopping({ stopping }: Shutdown): void {
  if (stopping) throw shuttingDown();
}

function createApp({ trustedProxies }: ServerOptions, malformed: MalformedRequestHandler, log: Logger): App {
  return fastify({
    logger: false,
    requestIdHeader: false,
    trustProxy: trustedProxies.length > 0 ? [...trustedProxies] : false,
    bodyLimit: mostJsonBytes,
    // What is refused while it stops is refused by shutdown.ts, in OpenAI's shape.
    return503OnClosing: false,
    keepAliveTimeout: 75_000,
    requestTimeout: requestTimeoutMs,
    http: { requireHostHeader: false },
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 256 },
    clientErrorHandler: malformed.handle,
    // A URL that cannot be read reaches no hook.
    frameworkErrors: (error, request, reply) => {
      request.server.observeUnrouted(request, reply);
      sendError(request, reply, toEctusError(error, request), log);
    },
  }) as unknown as App;
}

async function addDocs(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: "Ectus-R", version, description: "OpenAI-compatible, multi-tenant AI API" },
      components: { securitySchemes: { apiKey: { type: "http", scheme: "bearer" } } },
      security: [{ apiKey: [] }],
    },
    // OpenAPI knows no asterisk: what it stands for has a name there.
    transform: ({ schema, url }) => ({ schema, url: url.replace(/\/\*$/, "/:path") }),
  });
  await app.register(swaggerUi, { routePrefix: "/docs" });
}
