// The PostgreSQL of a drill: a real one in the scratch folder, which the drill can stop and start again under the
// instance.
import { join } from "node:path";
import { createLogging } from "@ectus/core";
import {
  appRole,
  createLoginRoles,
  type EmbeddedPostgres,
  ownerRole,
  startEmbeddedPostgres,
} from "@ectus/database";
import pg from "pg";
import { guardPostgres } from "./postgres-guard.ts";

export interface ScratchPostgres {
  /** As the role of the application. */
  readonly url: string;
  /** As the role that owns the schema. */
  readonly ownerUrl: string;
  /** Cuts all connections; what was committed stays. Also the end of it. */
  stop(): Promise<void>;
  /** Starts it again, at the same address. */
  start(): Promise<void>;
  log(): string;
}

const database = "ectus";
// Of a database that lives for a minute, on loopback.
const password = "drill";
// The data is gone with the drill: nothing has to be on disk.
const settings = { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };

/** @param folder DATA_DIR of the scratch instance; the cluster lies in its folder postgres */
export async function startScratchPostgres(folder: string, signal: AbortSignal): Promise<ScratchPostgres> {
  let printed = "";
  const log = createLogging({
    levels: { default: "info", modules: {} },
    format: "json",
    destination: { write: (text) => (printed += text) },
  }).module("postgres");
  const dataDir = join(folder, "postgres");
  let running: Running | undefined = await run({ dataDir, log, settings, signal });
  const { port, superuserUrl } = running.server;
  const urlAs = (role: string): string => `postgres://${role}:${password}@127.0.0.1:${port}/${database}`;
  const stop = async (): Promise<void> => {
    await running?.stop();
    running = undefined;
  };
  try {
    await makeDatabase(superuserUrl);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: urlAs(appRole),
    ownerUrl: urlAs(ownerRole),
    stop,
    async start() {
      running ??= await run({ dataDir, log, settings, port, signal });
    },
    log: () => printed,
  };
}

interface Running {
  readonly server: EmbeddedPostgres;
  readonly stop: () => Promise<void>;
}

async function run(options: Parameters<typeof startEmbeddedPostgres>[0]): Promise<Running> {
  const endGuard = await guardPostgres(options.dataDir);
  try {
    const server = await startEmbeddedPostgres(options);
    return { server, stop: () => server.stop().finally(endGuard) };
  } catch (error) {
    await endGuard();
    throw error;
  }
}

async function makeDatabase(superuserUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: superuserUrl });
  client.on("error", () => {});
  await client.connect();
  try {
    await createLoginRoles(client, { owner: password, app: password });
    await client.query(`create database ${database} owner ${ownerRole}`);
  } finally {
    await client.end();
  }
}
