// Starts a PostgreSQL 15 of the system's packages on loopback, in a temporary folder, for one test file.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { findFreePort } from "../free-port.ts";

const run = promisify(execFile);
const password = "test-superuser";
const readyTimeoutMs = 20_000;

export interface Postgres15 {
  readonly superuserUrl: string;
  stop(): Promise<void>;
}

export async function startPostgres15(programs: {
  readonly initdb: string;
  readonly postgres: string;
}): Promise<Postgres15> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-postgres-15-"));
  const remove = () => rm(folder, { recursive: true, force: true, maxRetries: 5 });
  try {
    const user = await notRoot();
    const passwordFile = join(folder, "password");
    await writeFile(passwordFile, password);
    if (user !== undefined) for (const path of [folder, passwordFile]) await chown(path, user.uid, user.gid);
    const cluster = join(folder, "cluster");
    const options = ["--username=postgres", `--pwfile=${passwordFile}`, "--auth=scram-sha-256", "--no-sync"];
    await run(programs.initdb, [`--pgdata=${cluster}`, "--encoding=UTF8", "--locale=C", ...options], {
      ...user,
      cwd: "/",
    });
    const port = await findFreePort();
    const settings = {
      listen_addresses: "127.0.0.1",
      port: String(port),
      unix_socket_directories: "",
      fsync: "off",
      max_connections: "100",
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    const server = spawn(programs.postgres, ["-D", cluster, ...args], { ...user, cwd: "/", stdio: "ignore" });
    const exited = once(server, "exit");
    const superuserUrl = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
    const stop = async (): Promise<void> => {
      server.kill("SIGINT");
      await exited;
      await remove();
    };
    try {
      await ready(superuserUrl);
    } catch (error) {
      await stop();
      throw error;
    }
    return { superuserUrl, stop };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The user that PostgreSQL runs as when this process is root, which it refuses: its package has made it. */
async function notRoot(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const number = async (option: string) => Number((await run("id", [option, "postgres"])).stdout);
  return { uid: await number("-u"), gid: await number("-g") };
}

async function ready(url: string): Promise<void> {
  const giveUpAt = performance.now() + readyTimeoutMs;
  for (;;) {
    const client = new pg.Client({ connectionString: url });
    client.on("error", () => {});
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (performance.now() > giveUpAt) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
