// Puts the HTTP API together: plugins in the order in which a request passes them, then the routes.

import type { Engine } from "@ectus/ai-engine";
import { EctusError, type Logging } from "@ectus/core";
import type { Database } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import multipart from "@fastify/multipart";
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import { fastify } from "fastify";
import { createAccounting } from "./accounting.ts";
import type { App } from "./app.ts";
import { createKeyCache } from "./key-cache.ts";
import { createRateLimits } from "./limits/rate-limits.ts";
import { createTokenBudgets } from "./limits/token-budgets.ts";
import { addAccessLog } from "./middleware/access-log.ts";
import { addAuthentication } from "./middleware/authentication.ts";
import { addErrorHandler } from "./middleware/error-handler.ts";
import { addJsonBody, mostJsonBytes } from "./middleware/json-body.ts";
import { addRequestContext, newRequestId } from "./middleware/request-context.ts";
import { addChatCompletions } from "./routes/chat-completions.ts";
import { addEmbeddings } from "./routes/embeddings.ts";
import { addFiles, mostFileBytes } from "./routes/files.ts";
import { addHealth, type ReadyCheck } from "./routes/health.ts";
import { addModels } from "./routes/models.ts";
import { addStoredCompletions } from "./routes/stored-completions.ts";
import { addTenants } from "./routes/tenants.ts";
import { createSettlements } from "./settlements.ts";

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
  readonly checks?: readonly ReadyCheck[];
}

export interface Server {
  /** As a client on this machine reaches it: `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Takes no more requests, lets those in progress end within `graceMs`, commits everything, closes. */
  close(graceMs?: number): Promise<void>;
}

const defaultGraceMs = 30_000;

/** Starts the API. What it is given stays the caller's to close. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { database, storage, engine, logging, apiKeySecrets } = options;
  const log = logging.module("web-api");
  const app = createApp(options);
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
  const accounting = createAccounting({ rates: createRateLimits(database), budgets, settlements });
  let stopping = false;

  // Answers are made by this program; their schemas are documentation, and what a provider adds must not be cut off.
  app.setSerializerCompiler(() => (answer) => JSON.stringify(answer));
  addRequestContext(app);
  addAccessLog(app, log);
  addErrorHandler(app, log);
  addAuthentication(app, keys);
  addJsonBody(app);
  await app.register(multipart, {
    limits: { files: 2, fields: 16, fileSize: mostFileBytes, fieldSize: 64 * 1024 },
    throwFileSizeLimit: false,
  });
  await addDocs(app, options.version);
  await app.register(async (routes: App) => {
    addHealth(routes, [
      {
        name: "server",
        check: async () => {
          if (stopping) throw new EctusError("shutting_down");
        },
      },
      { name: "database", check: () => database.ping() },
      ...(options.checks ?? []),
    ]);
    addModels(routes, engine);
    addChatCompletions(routes, { engine, accounting, log });
    addStoredCompletions(routes, database);
    addEmbeddings(routes, engine, accounting);
    addFiles(routes, { database, storage, log });
    addTenants(routes, { database, apiKeySecret: apiKeySecrets[0] });
  });
  await app.listen({ host: options.host, port: options.port });
  const address = app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : options.port;

  return {
    url: `http://127.0.0.1:${port}`,
    async close(graceMs = defaultGraceMs) {
      stopping = true;
      const cut = setTimeout(() => app.server.closeAllConnections(), graceMs);
      await app.close();
      clearTimeout(cut);
      await settlements.close();
      await budgets.close();
      await keys.close();
    },
  };
}

function createApp({ trustedProxies }: ServerOptions): App {
  return fastify({
    logger: false,
    genReqId: newRequestId,
    requestIdHeader: false,
    trustProxy: trustedProxies.length > 0 ? [...trustedProxies] : false,
    bodyLimit: mostJsonBytes,
    // Requests in progress end, idle connections are closed at once.
    forceCloseConnections: "idle",
    return503OnClosing: true,
    keepAliveTimeout: 75_000,
    requestTimeout: 0,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 256 },
    ajv: {
      customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allErrors: false },
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
  });
  await app.register(swaggerUi, { routePrefix: "/docs" });
}
