import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { access, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createLogging } from "@ectus/core";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { isPostgresOf, stopOrphan } from "./embedded-orphan.ts";
import {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  startEmbeddedPostgres,
} from "./embedded-postgres.ts";
import { findFreePort } from "./free-port.ts";

vi.mock("./free-port.ts", { spy: true });

let pristine: string;
let base: string;
let dataDir: string;
let logged: string[] = [];
const started: EmbeddedPostgres[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  pristine = await mkdtemp(join(tmpdir(), "ectus-embedded-pristine-"));
  await (await startEmbeddedPostgres({ dataDir: pristine, log: logger() })).stop();
});
afterAll(() => rm(pristine, { recursive: true, force: true }));

beforeEach(async () => {
  // As root this folder is the hard case: nobody else may pass it.
  base = await mkdtemp(join(tmpdir(), "ectus-embedded-"));
  dataDir = join(base, "postgres");
  logged = [];
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const postgres of started.splice(0)) await postgres.stop();
  await stopOrphan(join(dataDir, "cluster"), logger(), 5_000);
  await rm(base, { recursive: true, force: true, maxRetries: 5 });
});

function logger() {
  const destination = { write: (line: string) => void logged.push(line) };
  return createLogging({ levels: { default: "debug", modules: {} }, format: "json", destination }).module(
    "database",
  );
}

async function start(options: Partial<EmbeddedPostgresOptions> = {}): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({ dataDir, log: logger(), ...options });
  started.push(postgres);
  return postgres;
}

/** A cluster that has been used before, faster than by making it. */
function copyCluster(): void {
  execFileSync("cp", ["-a", pristine, dataDir]);
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function serverPid(): Promise<number> {
  return Number.parseInt(await readFile(join(dataDir, "cluster", "postmaster.pid"), "utf8"), 10);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Runs a program in another process that has `startEmbeddedPostgres`, `pg`, `log` and `dataDir`. */
function runElsewhere(body: string): ChildProcess & { stdout: NodeJS.ReadableStream } {
  const program = `
    import { createLogging } from "@ectus/core";
    import pg from "pg";
    import { startEmbeddedPostgres } from ${JSON.stringify(new URL("./embedded-postgres.ts", import.meta.url).href)};
    const dataDir = ${JSON.stringify(dataDir)};
    const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("database");
    ${body}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    cwd: import.meta.dirname,
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  return Object.assign(child, { stdout: child.stdout.setEncoding("utf8") });
}

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  for (let i = 0; i < 2_000; i += 1) {
    if (await condition()) return;
    await delay(5);
  }
  throw new Error("what was waited for did not come");
}

describe("a cluster", () => {
  test("is made on first use, keeps its data over a restart, and needs the password", async () => {
    const first = await start();
    await query(first.superuserUrl, "CREATE TABLE kept AS SELECT 'Zürich' AS city");
    await first.stop();
    expect(await first.exited).toEqual({ code: 0, signal: null });
    await first.stop();

    const second = await start();
    expect(await query(second.superuserUrl, "SELECT upper(city) AS city FROM kept")).toEqual([
      { city: "ZÜRICH" },
    ]);
    const wrong = second.superuserUrl.replace(/:[^:@]+@/, ":wrong@");
    await expect(query(wrong, "SELECT 1")).rejects.toThrow("password authentication failed");
    const password = await readFile(join(dataDir, "password"), "utf8");
    expect((await stat(join(dataDir, "password"))).mode & 0o777).toBe(0o600);
    expect(new URL(second.superuserUrl).password).toBe(password);
    expect((await stat(join(dataDir, "cluster"))).mode & 0o777).toBe(0o700);
    expect(logged.join("")).not.toContain(password);
  });

  test("is durable, in UTF-8, with checksums, and listens on loopback only", async () => {
    const { superuserUrl, port } = await start();
    const names = ["fsync", "synchronous_commit", "full_page_writes", "data_checksums", "server_encoding"];
    names.push("listen_addresses", "unix_socket_directories", "port", "password_encryption");
    const rows = await query(
      superuserUrl,
      `SELECT name, setting FROM pg_settings WHERE name IN ('${names.join("','")}')`,
    );
    expect(Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))).toEqual({
      fsync: "on",
      synchronous_commit: "on",
      full_page_writes: "on",
      data_checksums: "on",
      server_encoding: "UTF8",
      listen_addresses: "127.0.0.1",
      unix_socket_directories: "",
      port: String(port),
      password_encryption: "scram-sha-256",
    });
    expect(
      await query(superuserUrl, "SELECT DISTINCT datlocprovider, datlocale, datcollate FROM pg_database"),
    ).toEqual([{ datlocprovider: "b", datlocale: "C.UTF-8", datcollate: "C" }]);
  });

  test("takes settings and a port, and its statements' errors stay out of the log", async () => {
    copyCluster();
    const port = await findFreePort("127.0.0.1");
    const postgres = await start({ port, settings: { work_mem: "7MB", fsync: "off" } });
    expect(postgres.port).toBe(port);
    expect(await query(postgres.superuserUrl, "SHOW work_mem")).toEqual([{ work_mem: "7MB" }]);
    await expect(query(postgres.superuserUrl, "SELECT 'someone@example.com'::int")).rejects.toThrow(
      "someone",
    );
    await postgres.stop();
    expect(logged.join("")).toContain("database system is shut down");
    expect(logged.join("")).not.toContain("someone@example.com");
  });

  test("that was half made by a killed process is thrown away and made again", async () => {
    const child = runElsewhere("await startEmbeddedPostgres({ dataDir, log });");
    const unfinished = async () =>
      (await readdir(dataDir).catch(() => [])).filter((name) => /^unfinished-[0-9a-f]+$/.test(name));
    await until(async () => {
      const [name] = await unfinished();
      return name !== undefined && (await readdir(join(dataDir, name)).catch(() => [])).length > 0;
    });
    child.kill("SIGKILL");
    await once(child, "exit");
    await expect(access(join(dataDir, "cluster"))).rejects.toThrow();

    const postgres = await start();
    expect(await query(postgres.superuserUrl, "SELECT 1 AS one")).toEqual([{ one: 1 }]);
    expect((await readdir(dataDir)).filter((name) => name.startsWith("unfinished"))).toEqual([]);
  });
});

describe("two on one folder:", () => {
  test("the second is refused with the first's process id, and the first goes on", async () => {
    copyCluster();
    const first = await start();
    const refused = { code: "data_dir_in_use", details: { dir: dataDir, pid: process.pid } };
    await expect(start()).rejects.toMatchObject(refused);
    const child = runElsewhere(`
      await startEmbeddedPostgres({ dataDir, log }).catch(({ code, details }) => console.log(JSON.stringify({ code, details })));
    `);
    const [text] = await once(child.stdout, "data");
    expect(JSON.parse(text)).toEqual(refused);
    expect(await query(first.superuserUrl, "SELECT 1 AS one")).toEqual([{ one: 1 }]);
    await first.stop();
    await start();
  });

  test("of ten that start at once, exactly one gets it", async () => {
    copyCluster();
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => start()));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "data_dir_in_use" });
    }
  });
});

describe("after a crash", () => {
  beforeEach(copyCluster);

  test("of our process the orphan is stopped, and what was committed is there", async () => {
    const child = runElsewhere(`
      const { superuserUrl } = await startEmbeddedPostgres({ dataDir, log });
      const client = new pg.Client(superuserUrl);
      await client.connect();
      await client.query("CREATE TABLE kept AS SELECT 1 AS one");
      console.log("committed");
    `);
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    const orphan = await serverPid();
    expect(isAlive(orphan)).toBe(true);

    const postgres = await start();
    expect(isAlive(orphan)).toBe(false);
    expect(logged.join("")).toContain("still runs; stopping it");
    expect(await query(postgres.superuserUrl, "SELECT one FROM kept")).toEqual([{ one: 1 }]);
  });

  test("of postgres its end is told, and the next start recovers what was committed", async () => {
    const first = await start();
    await query(first.superuserUrl, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n");
    process.kill(await serverPid(), "SIGKILL");
    expect(await first.exited).toEqual({ code: null, signal: "SIGKILL" });
    await first.stop();

    const second = await start();
    expect(logged.join("")).toContain(
      "database system was not properly shut down; automatic recovery in progress",
    );
    expect(await query(second.superuserUrl, "SELECT count(*)::int AS n FROM kept")).toEqual([{ n: 1000 }]);
  });

  test("of postgres alone its last process may end late: the start waits for it", async () => {
    const child = runElsewhere(`
      const { superuserUrl } = await startEmbeddedPostgres({ dataDir, log });
      const client = new pg.Client(superuserUrl);
      await client.connect();
      const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
      console.log(rows[0].pid);
    `);
    const [text] = await once(child.stdout, "data");
    const backend = Number(text);
    process.kill(backend, "SIGSTOP");
    child.kill("SIGKILL");
    const server = await serverPid();
    process.kill(server, "SIGKILL");
    await until(() => !isAlive(server));

    const starting = start();
    starting.catch(() => {});
    try {
      await until(() => logged.join("").includes("pre-existing shared memory block"));
    } finally {
      process.kill(backend, "SIGCONT");
    }
    const postgres = await starting;
    expect(await query(postgres.superuserUrl, "SELECT 1 AS one")).toEqual([{ one: 1 }]);
  });

  test("its end is told although one of its processes hangs", async () => {
    const postgres = await start();
    const client = new pg.Client({ connectionString: postgres.superuserUrl });
    client.on("error", () => {});
    await client.connect();
    const backend: number = (await client.query("SELECT pg_backend_pid() AS pid")).rows[0].pid;
    process.kill(backend, "SIGSTOP");
    try {
      process.kill(await serverPid(), "SIGKILL");
      expect(await postgres.exited).toEqual({ code: null, signal: "SIGKILL" });
    } finally {
      process.kill(backend, "SIGCONT");
    }
    await client.end().catch(() => {});
  });

  test("a pid file that names another program's process does not stop the start or that process", async () => {
    // Of the same user, as which PostgreSQL takes any living process for another postmaster.
    const { uid, gid } = await stat(join(dataDir, "cluster"));
    const other = spawn("sleep", ["60"], process.getuid?.() === 0 ? { uid, gid } : {});
    children.push(other);
    await once(other, "spawn");
    await writeFile(join(dataDir, "cluster", "postmaster.pid"), `${other.pid}\n${dataDir}\n`);
    await start();
    expect(other.exitCode).toBe(null);
    expect(isAlive(Number(other.pid))).toBe(true);
    expect(logged.join("")).toContain("names another program's process");
  });

  test.each(["linux", "darwin"] as const)(
    "a postgres is known by its data folder as on %s",
    async (platform) => {
      await start();
      const pid = await serverPid();
      expect(await isPostgresOf(pid, join(dataDir, "cluster"), platform)).toBe(true);
      expect(await isPostgresOf(pid, pristine, platform)).toBe(false);
      expect(await isPostgresOf(process.pid, join(dataDir, "cluster"), platform)).toBe(false);
    },
  );

  test("an orphan that does not stop is named, not killed", async () => {
    await start();
    const pid = await serverPid();
    process.kill(pid, "SIGSTOP");
    try {
      const stopping = stopOrphan(join(dataDir, "cluster"), logger(), 50);
      await expect(stopping).rejects.toMatchObject({ code: "embedded_postgres_failed" });
      await expect(stopping).rejects.toThrow(`process ${pid}`);
      expect(isAlive(pid)).toBe(true);
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });
});

describe("stopping", () => {
  beforeEach(copyCluster);

  test("cuts open connections and does not wait for them", async () => {
    const postgres = await start();
    const client = new pg.Client({ connectionString: postgres.superuserUrl });
    const cut = once(client, "error");
    client.on("error", () => {});
    await client.connect();
    await postgres.stop();
    await cut;
    expect(await postgres.exited).toEqual({ code: 0, signal: null });
  });

  test("kills a postgres that does not react", async () => {
    const postgres = await start({ shutdownWaitMs: 100 });
    process.kill(await serverPid(), "SIGSTOP");
    await postgres.stop();
    expect(await postgres.exited).toEqual({ code: null, signal: "SIGKILL" });
    await start();
  });

  test("with Ctrl-C reaches our process first, which may still use the database", async () => {
    const child = runElsewhere(`
      const postgres = await startEmbeddedPostgres({ dataDir, log });
      const timer = setInterval(() => {}, 60_000);
      process.once("SIGINT", async () => {
        const client = new pg.Client(postgres.superuserUrl);
        await client.connect();
        const { rows } = await client.query("SELECT 'still here' AS answer");
        await client.end();
        await postgres.stop();
        clearInterval(timer);
        console.log(rows[0].answer);
      });
      console.log("started");
    `);
    await once(child.stdout, "data");
    const pid = await serverPid();
    // A terminal sends the signal to every process of the foreground group.
    process.kill(-Number(child.pid), "SIGINT");
    const [answer] = await once(child.stdout, "data");
    expect(answer).toBe("still here\n");
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
    expect(isAlive(pid)).toBe(false);
  });
});

describe("a start that fails", () => {
  test("says what postgres said, and leaves the folder free", async () => {
    copyCluster();
    await expect(start({ settings: { shared_buffers: "much" } })).rejects.toMatchObject({
      code: "embedded_postgres_failed",
      message: expect.stringContaining('invalid value for parameter "shared_buffers": "much"'),
    });
    await start();
  });

  test("because the given port is taken says so", async () => {
    copyCluster();
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await expect(start({ port })).rejects.toThrow("Address already in use");
    server.close();
  });

  test("because a chosen port was taken in between is tried again on another", async () => {
    copyCluster();
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const taken = typeof address === "object" && address !== null ? address.port : 0;
    vi.mocked(findFreePort).mockResolvedValueOnce(taken);
    const postgres = await start();
    expect(postgres.port).not.toBe(taken);
    expect(logged.join("")).toContain("could not bind");
    server.close();
  });

  test("because the password is lost or another says which file", async () => {
    copyCluster();
    await writeFile(join(dataDir, "password"), "another");
    await expect(start()).rejects.toThrow(/does not let us in.*password/);
    await rm(join(dataDir, "password"));
    await expect(start()).rejects.toThrow(join(dataDir, "password"));
  });

  test("because the folder cannot be made says which", async () => {
    await writeFile(dataDir, "a file");
    await expect(start()).rejects.toMatchObject({ code: "embedded_postgres_failed" });
    await expect(start()).rejects.toThrow(dataDir);
  });

  test("because the lock cannot be kept leaves the folder free", async () => {
    copyCluster();
    await mkdir(join(dataDir, "lock.pid"));
    await expect(start()).rejects.toMatchObject({ code: "embedded_postgres_failed" });
    await rm(join(dataDir, "lock.pid"), { recursive: true });
    await start();
  });

  test("because something else lies in the cluster's place leaves that alone", async () => {
    await mkdir(join(dataDir, "cluster"), { recursive: true });
    await writeFile(join(dataDir, "cluster", "precious"), "mine");
    await expect(start()).rejects.toMatchObject({ code: "embedded_postgres_failed" });
    expect(await readFile(join(dataDir, "cluster", "precious"), "utf8")).toBe("mine");
    expect((await readdir(dataDir)).filter((name) => name.startsWith("unfinished"))).toEqual([]);
  });
});

describe("a start that is ended by its signal", () => {
  test("before it begins touches nothing", async () => {
    await expect(start({ signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
    expect(await readdir(base)).toEqual([]);
  });

  test("while the cluster is made leaves no cluster and no process", async () => {
    const controller = new AbortController();
    const starting = start({ signal: controller.signal });
    starting.catch(() => {});
    await until(async () =>
      (await readdir(dataDir).catch(() => [])).some((name) => /^unfinished-[0-9a-f]+$/.test(name)),
    );
    controller.abort(new Error("enough"));
    await expect(starting).rejects.toThrow("enough");
    expect((await readdir(dataDir)).filter((name) => /unfinished|cluster/.test(name))).toEqual([]);
  });

  test("while postgres starts stops it and frees the folder", async () => {
    copyCluster();
    const controller = new AbortController();
    const port = await findFreePort("127.0.0.1");
    vi.mocked(findFreePort).mockImplementationOnce(async () => {
      // Between this choice and readiness.
      queueMicrotask(() => controller.abort(new Error("enough")));
      return port;
    });
    await expect(start({ signal: controller.signal })).rejects.toThrow("enough");
    expect(await readdir(join(dataDir, "cluster"))).not.toContain("postmaster.pid");
    await start();
  });
});
