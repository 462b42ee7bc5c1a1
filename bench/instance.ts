// Ectus-R as it runs in production, in a process of its own with its embedded PostgreSQL, in a temporary folder; and
// tenants with a budget, made through its API.
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { appRole } from "@ectus/database";
import pg from "pg";
import { type Running, startNode, until } from "./processes.ts";
import { benchModel } from "./requests.ts";

export interface Instance extends Running {
  readonly port: number;
  readonly url: string;
  readonly operatorKey: string;
  /** URL of its database as the application. */
  readonly databaseUrl: string;
  /** And as a superuser. */
  readonly ownerUrl: string;
  makeTenants(count: number): Promise<readonly Tenant[]>;
  /** Settings of the server that decide what a commit costs. */
  durability(): Promise<Readonly<Record<string, string>>>;
  /** Lets commits be answered before they are on disk, or not. */
  setSynchronousCommit(on: boolean): Promise<void>;
  /** Rows in the table of usage. */
  usageRows(): Promise<number>;
  /** Asks for an export of a tenant's messages. Gives its id once it runs. */
  startExport(tenantId: string, compression: "none" | "zstd"): Promise<string>;
  exportState(tenantId: string, id: string): Promise<string>;
  deleteExport(tenantId: string, id: string): Promise<void>;
  /** Removes what a tenant has stored, and gives its room back. */
  removeMessages(tenantId: string): Promise<void>;
}

export interface Tenant {
  readonly id: string;
  readonly keyId: string;
  readonly key: string;
}

const readyTimeoutMs = 60_000;
const root = join(import.meta.dirname, "..");
// Enough for every request of the bench, so that none is refused.
const limits = {
  monthly_token_budget: 1_000_000_000_000,
  requests_per_minute: 2_000_000_000,
  tokens_per_minute: 2_000_000_000,
};

/** @param environment variables on top of those of every bench */
export async function startEctus(
  upstreamPort: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<Instance> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-bench-"));
  // PostgreSQL, which may run as another user, has to pass.
  await chmod(folder, 0o711);
  const dataDir = join(folder, "data");
  const providers = join(folder, "providers.yaml");
  await writeFile(providers, providersFile(upstreamPort));
  const process = startNode({
    args: [...(await npmStartArguments()), "--port", "0", "--data-dir", dataDir],
    env: {
      AI_PROVIDERS: providers,
      HOST: "127.0.0.1",
      METRICS_PORT: "0",
      LOG_LEVEL: "info",
      LOG_FORMAT: "json",
      ...environment,
    },
    cwd: root,
  });
  const stop = async (): Promise<void> => {
    await process.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    let credentials = { baseUrl: "", operatorKey: "" };
    await until("Ectus-R", readyTimeoutMs, process, async () => {
      credentials = JSON.parse(await readFile(join(dataDir, "credentials.json"), "utf8"));
      const answer = await fetch(`${credentials.baseUrl}/health/ready`, {
        signal: AbortSignal.timeout(1_000),
      });
      await answer.arrayBuffer();
      return answer.ok;
    });
    const url = await databaseUrl(dataDir, "postgres");
    return {
      ...process,
      stop,
      url: credentials.baseUrl,
      operatorKey: credentials.operatorKey,
      databaseUrl: await databaseUrl(dataDir, appRole),
      ownerUrl: url,
      port: Number(new URL(credentials.baseUrl).port),
      makeTenants: (count) => makeTenants(credentials.baseUrl, credentials.operatorKey, count),
      durability: async () => {
        const names = ["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method"];
        const rows = await query(url, "select name, setting from pg_settings where name = any ($1)", [names]);
        return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
      },
      setSynchronousCommit: async (on) => {
        await query(url, `alter system set synchronous_commit = ${on ? "on" : "off"}`);
        await query(url, "select pg_reload_conf()");
      },
      usageRows: async () => Number((await query(url, "select count(*) from usage"))[0]?.count),
      ...exportsOf(credentials.baseUrl, credentials.operatorKey),
      removeMessages: async (tenantId) => {
        for (const table of ["messages", "completions"])
          await query(url, `delete from ${table} where tenant_id = $1`, [tenantId], 600_000);
        for (const table of ["messages", "completions"]) await query(url, `vacuum ${table}`, [], 600_000);
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What `npm start` gives Node. */
async function npmStartArguments(): Promise<readonly string[]> {
  const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
    scripts: { start: string };
  };
  const [exec, node, ...args] = scripts.start.split(" ");
  if (exec !== "exec" || node !== "node")
    throw new Error(`npm start is ${scripts.start}, which is not understood here`);
  return args;
}

function providersFile(upstreamPort: number): string {
  return JSON.stringify({
    providers: {
      upstream: { type: "openai", baseUrl: `http://127.0.0.1:${upstreamPort}/v1`, maxConcurrent: 1_000 },
    },
    models: {
      [benchModel]: {
        operations: ["chat"],
        price: { inputPerMillionUsd: 0.15, outputPerMillionUsd: 0.6 },
        routes: [{ provider: "upstream", model: benchModel }],
      },
    },
  });
}

function exportsOf(baseUrl: string, operatorKey: string) {
  const ask = async (method: string, tenantId: string, rest: string, body?: object) => {
    const answer = await fetch(`${baseUrl}/admin/tenants/${tenantId}/exports${rest}`, {
      method,
      headers: { authorization: `Bearer ${operatorKey}`, "content-type": "application/json" },
      signal: AbortSignal.timeout(10_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`exports${rest} answered ${answer.status}: ${text}`);
    return JSON.parse(text) as { readonly id: string; readonly state: string };
  };
  const exportState = async (tenantId: string, id: string) => (await ask("GET", tenantId, `/${id}`)).state;
  return {
    exportState,
    async startExport(tenantId: string, compression: "none" | "zstd") {
      const { id } = await ask("POST", tenantId, "", { compression, scope: { tables: ["messages"] } });
      while ((await exportState(tenantId, id)) === "queued") await delay(50);
      return id;
    },
    deleteExport: async (tenantId: string, id: string) => void (await ask("DELETE", tenantId, `/${id}`)),
  };
}

async function makeTenants(baseUrl: string, operatorKey: string, count: number): Promise<readonly Tenant[]> {
  const post = async (path: string, body: object): Promise<Record<string, unknown>> => {
    const answer = await fetch(baseUrl + path, {
      method: "POST",
      headers: { authorization: `Bearer ${operatorKey}`, "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as Record<string, unknown>;
  };
  const tenants: Tenant[] = [];
  for (let number = 1; number <= count; number++) {
    const { id } = await post("/admin/tenants", { name: `Tenant ${number}`, ...limits });
    const made = await post(`/admin/tenants/${id}/keys`, { name: "Bench" });
    tenants.push({ id: String(id), keyId: String(made.id), key: String(made.key) });
  }
  return tenants;
}

async function databaseUrl(dataDir: string, role: "postgres" | typeof appRole): Promise<string> {
  const read = (path: string): Promise<string> => readFile(join(dataDir, path), "utf8");
  const password =
    role === "postgres"
      ? (await read("postgres/password")).trim()
      : (JSON.parse(await read("secrets.json")) as { databaseAppPassword: string }).databaseAppPassword;
  const port = (await read("postgres/cluster/postmaster.pid")).split("\n")[3];
  return `postgres://${role}:${password}@127.0.0.1:${port}/ectus`;
}

async function query(
  connectionString: string,
  text: string,
  values: readonly unknown[] = [],
  query_timeout = 60_000,
): Promise<readonly Record<string, string>[]> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 5_000, query_timeout });
  await client.connect();
  try {
    return (await client.query<Record<string, string>>(text, [...values])).rows;
  } finally {
    await client.end();
  }
}
