// Runs `ectus up` in this process: on an embedded database of its own, and on a test database where that is enough.
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createSigningKey } from "@ectus/bag";
import { findRunningPostgres } from "@ectus/database";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { startUpstream, type Upstream } from "../../../../tests/openai-upstream/upstream.ts";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { runProgram } from "../program.ts";
import { type RecordedContext, recordContext, runRecorded } from "../recorded-context.ts";
import type { Instance } from "../up.ts";
import { readRevision, version } from "../version.ts";
import { welcome } from "./up.ts";

let upstream: Upstream;
let folder: string;
let providers: string;

beforeAll(async () => {
  upstream = await startUpstream();
  folder = await mkdtemp(join(tmpdir(), "ectus-up-"));
  providers = join(folder, "providers.yaml");
  await writeFile(
    providers,
    `providers:\n  double: { type: openai, baseUrl: "${upstream.baseUrl}" }\nmodels:\n  double: { operations: [chat], routes: [{ provider: double, model: double }] }\n`,
  );
});
afterAll(async () => {
  await upstream.close();
  await rm(folder, { recursive: true });
});

interface Up extends RecordedContext {
  readonly ended: Promise<number>;
  /** Resolves with the printed object. */
  readonly ready: () => Promise<{
    url: string;
    metricsUrl: string | null;
    data_dir: string;
    credentialsFile: string | null;
    models: string[];
  }>;
}

const running: Up[] = [];
afterEach(async () => {
  for (const up of running.splice(0)) {
    up.signal();
    await up.ended;
  }
});

function startUp(environment: Record<string, string>, ...flags: string[]): Up {
  const recorded = recordContext({ PORT: "0", HOST: "127.0.0.1", AI_PROVIDERS: providers, ...environment });
  const ended = runProgram(["up", "--json", ...flags], recorded.context);
  const up: Up = {
    ...recorded,
    ended,
    async ready() {
      await Promise.race([
        recorded.printed("credentialsFile"),
        ended.then((code) => Promise.reject(new Error(`up ended with ${code}: ${recorded.err()}`))),
      ]);
      return JSON.parse(recorded.out());
    },
  };
  running.push(up);
  return up;
}

async function keyOf({ credentialsFile }: { credentialsFile: string | null }): Promise<string> {
  return JSON.parse(await readFile(credentialsFile ?? "", "utf8")).tenants[0].key;
}

async function ask(url: string, key: string, body: Record<string, unknown> = {}): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "double", messages: [{ role: "user", content: "Hello" }], ...body }),
  });
}

async function until(condition: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const giveUpAt = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`not within 20 s: ${what}`);
    await delay(5);
  }
}

const isRunning = async (dataDir: string) =>
  (await findRunningPostgres(join(dataDir, "postgres"))) !== undefined;

// One after the other on one folder, so that the database is made once.
describe("on an embedded database", () => {
  let dataDir: string;
  let key: string;
  beforeAll(() => {
    dataDir = join(folder, "embedded");
  });

  test("Ctrl-C while the database is being made leaves nothing half-made", async () => {
    const up = startUp({ DATA_DIR: dataDir });
    const postgres = join(dataDir, "postgres");
    const names = () => readdir(postgres).catch((): string[] => []);
    await until(async () => (await names()).some((name) => name.startsWith("unfinished-")), "initdb runs");
    up.signal();
    expect(await up.ended).toBe(0);
    expect(up.out()).toBe("");
    expect((await names()).filter((name) => name.startsWith("unfinished-"))).toEqual([]);
    expect(await isRunning(dataDir)).toBe(false);
  });

  test("the first start makes keys that work", async () => {
    const up = startUp({ DATA_DIR: dataDir });
    const instance = await up.ready();
    expect(instance).toEqual({
      object: "instance",
      url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      metricsUrl: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/),
      data_dir: dataDir,
      models: ["double"],
      credentialsFile: join(dataDir, "credentials.json"),
    });
    expect((await stat(join(dataDir, "credentials.json"))).mode & 0o777).toBe(0o600);
    key = await keyOf(instance);
    expect((await ask(instance.url, key)).status).toBe(200);
    const { signingKey } = JSON.parse(await readFile(join(dataDir, "secrets.json"), "utf8"));
    const published = await (await fetch(`${instance.url}/v1/signing-keys`)).json();
    expect(published).toEqual({ keys: [createSigningKey(signingKey).publicKey] });
    up.signal();
    expect(await up.ended).toBe(0);
    expect(await isRunning(dataDir)).toBe(false);
    await expect(fetch(instance.url)).rejects.toThrow();
  });

  test("a second start takes the same data; what else is run on it meanwhile finds the instance", async () => {
    const up = startUp({ DATA_DIR: dataDir });
    const instance = await up.ready();
    expect(await keyOf(instance)).toBe(key);
    expect(JSON.parse(await readFile(join(dataDir, "credentials.json"), "utf8")).baseUrl).toBe(instance.url);
    expect((await ask(instance.url, key)).status).toBe(200);

    const environment = { DATA_DIR: dataDir, AI_PROVIDERS: providers, HOST: "127.0.0.1", PORT: "0" };
    const second = await runRecorded(environment, "up");
    expect(second.code).toBe(1);
    expect(second.err).toContain(`is in use by another Ectus (process ${process.pid})`);
    // Not that "another program" has its port.
    const samePort = await runRecorded({ ...environment, PORT: new URL(instance.url).port }, "up");
    expect(samePort.err).toContain(`is in use by another Ectus (process ${process.pid})`);

    const made = await runRecorded(environment, "key", "create", "new", "--tenant", "Demo", "--json");
    expect((await ask(instance.url, JSON.parse(made.out).key)).status).toBe(200);
    const revoked = await runRecorded(
      environment,
      "key",
      "revoke",
      JSON.parse(made.out).id,
      "--tenant",
      "Demo",
    );
    expect(revoked.code).toBe(0);
    await until(
      async () => (await ask(instance.url, JSON.parse(made.out).key)).status === 401,
      "the revoked key is refused",
    );

    const migrated = await runRecorded(environment, "migrate");
    expect(migrated).toMatchObject({ code: 0, out: "The database is up to date.\n" });
    expect(migrated.err).toContain("An instance is running on");

    const port = new URL(instance.url).port;
    const metricsPort = new URL(instance.metricsUrl ?? "").port;
    const doctor = await runRecorded(
      { ...environment, PORT: port, METRICS_PORT: metricsPort },
      "doctor",
      "--json",
    );
    expect(doctor.out).toContain(`an instance serves metrics at ${instance.metricsUrl}`);
    expect(JSON.parse(doctor.out)).toMatchObject({ status: "ok" });
    expect(doctor.out).toContain("the embedded one of the instance that is running");
    expect(doctor.out).toContain("an instance answers at");
    expect(doctor.code).toBe(0);
  });

  test("commands start the database of an instance that does not run, and stop it after", async () => {
    const listed = await runRecorded({ DATA_DIR: dataDir }, "tenant", "list", "--json");
    expect(JSON.parse(listed.out).data).toMatchObject([{ name: "Demo" }]);
    expect(await isRunning(dataDir)).toBe(false);
  });

  test("Ctrl-C lets a stream that runs come to its end", async () => {
    const up = startUp({ DATA_DIR: dataDir });
    const { url } = await up.ready();
    upstream.next({ content: ["one", " two", " three"], dripMs: 200 });
    const answer = await ask(url, key, { stream: true });
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    const first = (await reader?.read())?.value ?? "";
    up.signal();
    let text = first;
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read())
      text += part.value;
    expect(text).toContain(" three");
    expect(text.trimEnd().endsWith("data: [DONE]")).toBe(true);
    expect(await up.ended).toBe(0);
    expect(up.exits).toEqual([]);
  });

  test("when PostgreSQL dies the instance says so and ends with code 1, and the next start recovers", async () => {
    const up = startUp({ DATA_DIR: dataDir });
    const { url } = await up.ready();
    const postgres = await findRunningPostgres(join(dataDir, "postgres"));
    process.kill(postgres?.pid ?? 0, "SIGKILL");
    expect(await up.ended).toBe(1);
    expect(up.err()).toContain("ectus: The embedded PostgreSQL failed: it ended by itself (SIGKILL)");
    await expect(fetch(url)).rejects.toThrow();
    running.length = 0;

    const again = startUp({ DATA_DIR: dataDir });
    expect(await keyOf(await again.ready())).toBe(key);
  });
});

test("whoever has lost the secrets gets to the data, though not with the old keys", async () => {
  const dataDir = join(folder, "embedded");
  for (const name of ["secrets.json", "credentials.json"]) await rm(join(dataDir, name));
  const instance = await startUp({ DATA_DIR: dataDir }).ready();
  expect(instance.credentialsFile).toBeNull();
  const { out } = await runRecorded(
    { DATA_DIR: dataDir },
    "key",
    "create",
    "x",
    "--tenant",
    "Demo",
    "--json",
  );
  expect((await ask(instance.url, JSON.parse(out).key)).status).toBe(200);
});

test("PostgreSQL that dies while the start waits for the model ends the start", async () => {
  vi.stubEnv("XDG_CACHE_HOME", join(folder, "no-cache"));
  const dataDir = join(folder, "embedded");
  await mkdir(join(dataDir, "models"), { recursive: true });
  const lock = join(dataDir, "models", "SmolLM2-135M-Instruct.Q4_1.gguf.lock");
  await writeFile(lock, "");
  try {
    const up = recordContext({ DATA_DIR: dataDir, PORT: "0", HOST: "127.0.0.1" });
    const ended = runProgram(["up", "--json"], up.context);
    await up.printed("another process is getting this model");
    await until(() => isRunning(dataDir), "PostgreSQL runs");
    const postgres = await findRunningPostgres(join(dataDir, "postgres"));
    process.kill(postgres?.pid ?? 0, "SIGKILL");
    expect(await ended).toBe(1);
    expect(JSON.parse(up.out()).error.code).toBe("embedded_postgres_failed");
  } finally {
    vi.unstubAllEnvs();
    await rm(lock);
  }
});

describe("on another database", () => {
  let database: TestDatabase;
  let dataDir: string;
  beforeEach(async () => {
    database = await createTestDatabase();
    dataDir = await mkdtemp(join(folder, "data-"));
  });
  afterEach(async () => {
    for (const up of running.splice(0)) {
      up.signal();
      await up.ended;
    }
    vi.unstubAllEnvs();
    await database.drop();
  });
  const environment = () => ({
    DATABASE_URL: database.appUrl,
    DATABASE_OWNER_URL: database.ownerUrl,
    DATA_DIR: dataDir,
  });

  test("it takes DATABASE_URL and makes no PostgreSQL", async () => {
    const instance = await startUp(environment()).ready();
    const answer = await fetch(`${instance.url}/v1/models`, {
      headers: { authorization: `Bearer ${await keyOf(instance)}` },
    });
    expect(answer.status).toBe(200);
    expect((await readdir(dataDir)).sort()).toEqual(["credentials.json", "files", "secrets.json"]);
  });

  test("metrics are served on a port of their own, which credentials.json names", async () => {
    const { metricsUrl, credentialsFile } = await startUp(environment()).ready();
    expect(JSON.parse(await readFile(credentialsFile ?? "", "utf8")).metricsUrl).toBe(metricsUrl);
    const scraped = await (await fetch(metricsUrl ?? "")).text();
    const revision = await readRevision({});
    expect(scraped).toContain(`\nectus_build_info{version="${version}",revision="${revision}"} 1\n`);
  });

  test("METRICS_ENABLED=false serves nothing and names nothing", async () => {
    const first = startUp(environment());
    const { metricsUrl } = await first.ready();
    first.signal();
    expect(await first.ended).toBe(0);
    const { port } = new URL(metricsUrl ?? "");
    const off = { ...environment(), METRICS_PORT: port, METRICS_ENABLED: "false" };
    const instance = await startUp(off).ready();
    expect(instance.metricsUrl).toBeNull();
    expect(await readFile(instance.credentialsFile ?? "", "utf8")).not.toContain("metricsUrl");
    await expect(fetch(metricsUrl ?? "")).rejects.toThrow();
  });

  test("a metrics port that is taken holds nothing up, and is taken when it is free", async () => {
    const other = createServer((_, response) => response.end());
    await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening));
    const { port } = other.address() as AddressInfo;
    const up = startUp({ ...environment(), METRICS_PORT: String(port), LOG_LEVEL: "info" });
    const instance = await up.ready();
    expect(instance.metricsUrl).toBeNull();
    expect((await fetch(`${instance.url}/health/ready`)).status).toBe(200);
    expect(JSON.parse(await readFile(instance.credentialsFile ?? "", "utf8")).metricsUrl).toBe(
      `http://127.0.0.1:${port}/metrics`,
    );
    expect(up.err().match(/metrics cannot be served/g)).toHaveLength(1);
    await new Promise((closed) => other.close(closed));
    await up.printed("metrics are served now");
    expect((await fetch(`http://127.0.0.1:${port}/-/healthy`)).status).toBe(200);
  });

  test("a start that fails serves no metrics any more", async () => {
    const other = createServer();
    await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening));
    const { port } = other.address() as AddressInfo;
    await new Promise((closed) => other.close(closed));
    const nobody = "postgres://nobody@127.0.0.1:1/none";
    const database = { DATABASE_URL: nobody, DATABASE_OWNER_URL: nobody };
    const up = startUp({ ...environment(), ...database, METRICS_PORT: String(port), LOG_LEVEL: "info" });
    expect(await up.ended).not.toBe(0);
    expect(up.err()).toContain("metrics are served");
    await expect(fetch(`http://127.0.0.1:${port}/-/healthy`)).rejects.toThrow();
  });

  test("a file of the exporter that cannot be used is told before anything is made", async () => {
    const up = startUp({ DATA_DIR: join(dataDir, "not-yet"), METRICS_BEARER_TOKEN_FILE: "/nowhere/token" });
    expect(await up.ended).toBe(2);
    expect(up.err()).toContain('METRICS_BEARER_TOKEN_FILE: got "/nowhere/token", which cannot be used');
    expect(await readdir(dataDir)).toEqual([]);
  });

  test("a folder without the keys of a database that has tenants gets none", async () => {
    await runRecorded({ ...environment(), API_KEY_SECRET: "x".repeat(32) }, "tenant", "create", "Acme");
    const up = recordContext({ ...environment(), PORT: "0", HOST: "127.0.0.1", AI_PROVIDERS: providers });
    const ended = runProgram(["up"], up.context);
    await up.printed("Ctrl-C stops it.");
    expect(up.out()).toContain("This database has tenants already");
    up.signal();
    expect(await ended).toBe(0);
    expect(await readdir(dataDir)).not.toContain("credentials.json");
  });

  test("a port that is taken is a failure that names it, before anything is made", async () => {
    const other = createServer();
    await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening));
    try {
      const { port } = other.address() as AddressInfo;
      const up = startUp({ DATA_DIR: join(dataDir, "not-yet") }, "--port", String(port));
      expect(await up.ended).toBe(1);
      expect(up.err()).toContain(`Port ${port} is used by another program`);
      expect(JSON.parse(up.out()).error.code).toBe("port_in_use");
      expect(await readdir(dataDir)).toEqual([]);
    } finally {
      other.close();
    }
  });

  test("a port that is taken while the rest starts is a failure too, and everything is stopped again", async () => {
    const other = createServer();
    await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening));
    const { port } = other.address() as AddressInfo;
    await new Promise((closed) => other.close(closed));
    // The lock of migrations holds the start after it has looked at the port.
    const holder = new pg.Client({ connectionString: database.ownerUrl });
    await holder.connect();
    await holder.query("select pg_advisory_lock(7420881233)");
    const up = startUp({ ...environment(), PORT: String(port) });
    await until(async () => (await readdir(dataDir)).includes("secrets.json"), "the start is under way");
    await new Promise<void>((listening) => other.listen(port, "127.0.0.1", listening));
    try {
      await holder.end();
      expect(await up.ended).toBe(1);
      expect(up.err()).toContain(`Port ${port} is used by another program`);
    } finally {
      other.close();
    }
  });

  test("a fault in the providers file is told before anything is made", async () => {
    const file = join(dataDir, "..", "faulty.yaml");
    await writeFile(file, "providers: { a: { type: openai } }\nmodels: {}\n");
    const up = startUp({ DATA_DIR: join(dataDir, "not-yet"), AI_PROVIDERS: file });
    expect(await up.ended).toBe(2);
    expect(up.err()).toContain("providers.a.baseUrl");
    expect(await readdir(dataDir)).toEqual([]);
  });

  test("an address that is not this machine's is a fault of the configuration", async () => {
    const up = startUp({ ...environment(), HOST: "192.0.2.1" });
    expect(await up.ended).toBe(2);
    expect(up.err()).toMatch(/HOST, PORT: got "192\.0\.2\.1:0", where this user cannot listen/);
  });

  test("without the model and without the network it says so and runs on", async () => {
    vi.stubEnv("XDG_CACHE_HOME", join(folder, "no-cache"));
    const { AI_PROVIDERS: _, ...rest } = { AI_PROVIDERS: "", ...environment() };
    const up = recordContext({ ...rest, PORT: "0", HOST: "127.0.0.1" });
    const ended = runProgram(["up", "--offline"], up.context);
    await up.printed("Ctrl-C stops it.");
    expect(up.out()).toContain("No model is here");
    expect(up.out()).not.toContain("curl");
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(up.out())?.[0];
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    up.signal();
    expect(await ended).toBe(0);
  });

  test("Ctrl-C while it waits for the model leaves a folder that the next start can use", async () => {
    vi.stubEnv("XDG_CACHE_HOME", join(folder, "no-cache"));
    await mkdir(join(dataDir, "models"));
    await writeFile(join(dataDir, "models", "SmolLM2-135M-Instruct.Q4_1.gguf.lock"), "");
    const up = recordContext({ ...environment(), PORT: "0", HOST: "127.0.0.1", LOG_LEVEL: "info" });
    const ended = runProgram(["up", "--json"], up.context);
    await up.printed("another process is getting this model");
    up.signal();
    expect(await ended).toBe(0);
    expect(up.out()).toBe("");
    expect(await readdir(join(dataDir, "models"))).toEqual(["SmolLM2-135M-Instruct.Q4_1.gguf.lock"]);
  });
});

test("a database that does not answer is a failure that says where", async () => {
  const up = startUp({
    DATABASE_URL: "postgres://app:hunter2@127.0.0.1:1/ectus",
    DATA_DIR: join(folder, "nowhere"),
  });
  expect(await up.ended).toBe(1);
  expect(up.err()).toContain("The database at 127.0.0.1:1/ectus cannot be reached");
  expect(up.err()).not.toContain("hunter2");
});

test("a start that fails does not wait for the model that it was getting", async () => {
  vi.stubEnv("XDG_CACHE_HOME", join(folder, "no-cache"));
  const dataDir = join(folder, "waits");
  await mkdir(join(dataDir, "models"), { recursive: true });
  await writeFile(join(dataDir, "models", "SmolLM2-135M-Instruct.Q4_1.gguf.lock"), "");
  try {
    const environment = { DATABASE_URL: "postgres://app:x@127.0.0.1:1/ectus", DATA_DIR: dataDir, PORT: "0" };
    const { code, err } = await runRecorded(environment, "up", "--json");
    expect(code).toBe(1);
    expect(err).toContain("cannot be reached");
  } finally {
    vi.unstubAllEnvs();
  }
});

test("a folder that cannot be made is a fault of the configuration", async () => {
  await writeFile(join(folder, "file"), "");
  const up = startUp({ DATA_DIR: join(folder, "file", "data") });
  expect(await up.ended).toBe(2);
  expect(up.err()).toMatch(/DATA_DIR: got ".*\/file\/data", which cannot be used \(.*\); accepts a folder/);
});

test("a providers file with faults ends the start with code 2", async () => {
  const up = startUp({ DATA_DIR: join(folder, "faulty"), AI_PROVIDERS: join(folder, "none.yaml") });
  expect(await up.ended).toBe(2);
  expect(up.err()).toContain("AI_PROVIDERS: got");
  expect(await isRunning(join(folder, "faulty"))).toBe(false);
});

test("people get a curl line that a shell takes as it is, or are told what to do without a model", () => {
  const instance: Instance = {
    url: "http://127.0.0.1:1",
    metricsUrl: "http://127.0.0.1:2/metrics",
    dataDir: "/data",
    models: ["double"],
    chatModel: "double",
    credentials: {
      baseUrl: "http://127.0.0.1:1",
      operatorKey: "sk-operator",
      tenants: [{ id: "", name: "Demo", adminKey: "sk-admin", key: "sk-demo" }],
    },
    failed: new Promise(() => {}),
    stop: async () => {},
  };
  const text = welcome(instance);
  expect(text).toContain("Metrics for Prometheus are at http://127.0.0.1:2/metrics.");
  expect(welcome({ ...instance, metricsUrl: undefined })).not.toContain("Metrics");
  expect(text).toContain("Keys are in /data/credentials.json.");
  expect(text).toContain(
    `    -H "Authorization: Bearer $(sed -n 's/.*"key": "\\(.*\\)".*/\\1/p' '/data/credentials.json')" \\\n`,
  );
  expect(text).not.toContain("sk-");
  expect(welcome({ ...instance, models: [], chatModel: undefined })).toContain("npm run ectus -- model pull");
  const onlyEmbeddings = welcome({ ...instance, chatModel: undefined });
  expect(onlyEmbeddings).not.toMatch(/curl|model pull/);
});
