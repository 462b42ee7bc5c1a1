// The database of an instance: the one that DATABASE_URL names, or an embedded one in DATA_DIR.
import { join } from "node:path";
import type { Config, Logger } from "@ectus/core";
import { appRole, createLoginRoles, ownerRole, startEmbeddedPostgres } from "@ectus/database";
import pg from "pg";
import type { InstanceSecrets } from "./instance-secrets.ts";

export interface Postgres {
  /** URL as the role that owns the schema. */
  readonly ownerUrl: string;
  /** URL as the application. */
  readonly url: string;
  /** Rejects if an embedded server ends by itself. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

const databaseName = "ectus";

export async function openPostgres(options: {
  readonly config: Config;
  readonly dataDir: string;
  readonly secrets: InstanceSecrets;
  readonly log: Logger;
  readonly signal: AbortSignal;
}): Promise<Postgres> {
  const { config, dataDir, secrets, log, signal } = options;
  if (config.DATABASE_URL !== undefined) {
    return {
      ownerUrl: config.DATABASE_OWNER_URL ?? config.DATABASE_URL,
      url: config.DATABASE_URL,
      failed: new Promise<never>(() => {}),
      stop: async () => {},
    };
  }
  const server = await startEmbeddedPostgres({ dataDir: join(dataDir, "postgres"), log, signal });
  try {
    await prepare(server.superuserUrl, secrets);
  } catch (error) {
    await server.stop();
    throw error;
  }
  let stopping = false;
  const failed = server.exited.then(({ code, signal: by }): never | Promise<never> => {
    if (stopping) return new Promise<never>(() => {});
    throw new Error(`the embedded PostgreSQL ended by itself (${by ?? `exit code ${code}`})`);
  });
  failed.catch(() => {});
  return {
    ownerUrl: urlAs(server.superuserUrl, ownerRole, secrets.databaseOwnerPassword),
    url: urlAs(server.superuserUrl, appRole, secrets.databaseAppPassword),
    failed,
    async stop() {
      stopping = true;
      await server.stop();
    },
  };
}

async function prepare(superuserUrl: string, secrets: InstanceSecrets): Promise<void> {
  const client = new pg.Client({ connectionString: superuserUrl });
  await client.connect();
  try {
    const found = await client.query("select from pg_database where datname = $1", [databaseName]);
    if (found.rowCount !== 0) return;
    await createLoginRoles(client, {
      owner: secrets.databaseOwnerPassword,
      app: secrets.databaseAppPassword,
    });
    await client.query(`create database ${databaseName} owner ${ownerRole}`);
  } finally {
    await client.end();
  }
}

function urlAs(superuserUrl: string, role: string, password: string): string {
  const url = new URL(superuserUrl);
  url.username = role;
  url.password = password;
  url.pathname = `/${databaseName}`;
  return url.href;
}
