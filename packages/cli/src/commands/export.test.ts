// Runs `ectus export` against the real API, with a worker that makes the exports.

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { createSigningKey, type SigningKey } from "@ectus/bag";
import { createLogging } from "@ectus/core";
import { startExportWorker } from "@ectus/database";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { contentOf, insertExport, makeReadyExport } from "../../../../tests/api/ready-export.ts";
import { startApi, type TestApi } from "../../../../tests/api/start-api.ts";
import { runProgram } from "../program.ts";
import { recordContext, runRecorded } from "../recorded-context.ts";
import { publishSigningKeys } from "../signing-keys.ts";

let api: TestApi;
let signingKey: SigningKey;
let stopWorker: () => Promise<void>;
let folder: string;
/** Of a tenant whose exports a worker makes. */
let admin: { readonly tenantId: string; readonly key: string };
/** Where a test puts its files. */
let place: string;
let places = 0;
const closing: Server[] = [];

beforeAll(async () => {
  api = await startApi();
  folder = await mkdtemp(join(tmpdir(), "ectus-export-"));
  signingKey = createSigningKey(randomBytes(32).toString("base64url"));
  await publishSigningKeys(api.database, [signingKey]);
  const worker = await startExportWorker({
    database: api.database,
    storage: api.serverOptions.storage,
    signingKey,
    software: "a test",
    log: createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("exports"),
    concurrency: 4,
    bytesPerSecond: 0,
    ttlMs: 3_600_000,
  });
  stopWorker = () => worker.stop();
  admin = await makeAdmin();
  const client = api.client(admin.key);
  await client.files.create({
    file: new File([new Uint8Array(contentOf(50_000))], "über\n../notes.pdf"),
    purpose: "user_data",
  });
});
afterAll(async () => {
  for (const server of closing) {
    server.closeAllConnections();
    server.close();
  }
  await stopWorker();
  await api.close();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  places += 1;
  place = join(folder, String(places));
  await mkdir(place);
});

/** A tenant and a key of it that may export. */
async function makeAdmin() {
  const { id: tenantId } = await api.makeTenant();
  const { key } = await api.makeKey(tenantId, ["inference", "admin"]);
  return { tenantId, key };
}

const environment = (key: string = admin.key) => ({
  ECTUS_URL: api.url,
  ECTUS_API_KEY: key,
  DATA_DIR: join(folder, "data"),
});
const run = (...args: string[]) => runRecorded(environment(), "export", ...args);

async function runJson(...args: string[]) {
  const { code, out, err } = await run(...args, "--json");
  expect({ code, err: code === 0 ? "" : err }).toEqual({ code: 0, err: "" });
  return JSON.parse(out);
}

test("one command has an export made, waits for it, takes it home and verifies it", async () => {
  const { code, out, err } = await run("create", "--wait", "--download", place);
  expect(code).toBe(0);
  expect(err).toMatch(/^export-[0-9a-f]{32}: /);
  const [name = ""] = await readdir(place);
  expect(await readdir(place)).toEqual([
    expect.stringMatching(/^a-test-s-tenant-\d{4}-\d\d-\d\d-[0-9a-f]{32}\.tar$/),
  ]);
  expect(out).toMatch(/^state +ready$/m);
  expect(out).toContain(`Downloaded ${join(place, name)} (${(await stat(join(place, name))).size} bytes).`);
  expect(out).toMatch(/^files +1 +[0-9a-f]{16}$/m);
  expect(out).toContain(`signed by  a key of ${api.url}, ${signingKey.publicKey.kid}`);
  expect(out).toContain(
    `Nothing is missing, nothing was changed, and the signature is by a key of ${api.url}.`,
  );
});

test("the steps one by one, for programs", async () => {
  const made = await runJson(
    "create",
    "--format",
    "csv",
    "--compression",
    "gzip",
    "--tables",
    "files,users",
    "--files",
  );
  expect(made).toMatchObject({
    object: "export",
    format: "csv",
    compression: "gzip",
    scope: { tables: expect.arrayContaining(["files", "users"]), files: true, audit_log: false },
  });
  const ready = await run("status", made.id, "--wait", "--json");
  expect(ready.code).toBe(0);
  expect(JSON.parse(ready.out)).toMatchObject({ id: made.id, state: "ready" });
  expect(await runJson("status", made.id)).toMatchObject({ id: made.id, state: "ready", error: null });
  const { data, first_id, has_more } = await runJson("list", "--limit", "1");
  expect(data.map(({ id }: { id: string }) => id)).toEqual([made.id]);
  expect(first_id).toBe(made.id);
  expect(has_more).toBe(true);

  const file = join(place, "mine.tar");
  const download = await run("download", made.id, "--output", file, "--json");
  expect(download.code).toBe(0);
  const answer = JSON.parse(download.out);
  expect(answer).toMatchObject({
    object: "export.download",
    id: made.id,
    file,
    bytes: (await stat(file)).size,
    resumed_from: 0,
    report: { ok: true, signature: { state: "valid" } },
  });

  const keys = join(place, "keys.json");
  await writeFile(keys, JSON.stringify({ keys: [signingKey.publicKey] }));
  expect(JSON.parse((await run("verify", file, "--keys", keys, "--json")).out)).toEqual(answer.report);

  expect(await runJson("delete", made.id)).toMatchObject({ id: made.id, deleted: true });
  const gone = await run("status", made.id, "--json");
  expect(gone.code).toBe(1);
  expect(JSON.parse(gone.out)).toMatchObject({ error: { code: "not_found" } });
});

test("without --wait it says how to wait, with the same flags", async () => {
  const { code, out } = await runRecorded(
    { ...environment(api.operatorKey), ECTUS_URL: undefined },
    ...["export", "create", "--url", api.url, "--tenant", admin.tenantId, "--tables", "users"],
  );
  expect(code).toBe(0);
  const id = /^id +(export-\w+)$/m.exec(out)?.[1];
  expect(out).toContain(
    `Wait for it with: ectus export status ${id} --wait --tenant '${admin.tenantId}' --url '${api.url}'`,
  );
});

test("what the API refuses is told in its words: of an option it is a wrong use, else a failure", async () => {
  const table = await run("create", "--tables", "nonsense");
  expect(table.code).toBe(2);
  expect(table.err).toMatch(/^ectus: .*tables/);
  const times = await run("create", "--from", "2026-02-01", "--to", "2026-01-01", "--json");
  expect(times.code).toBe(2);
  expect(JSON.parse(times.out)).toMatchObject({ error: { code: "invalid_request" } });
  const inference = await api.makeKey(admin.tenantId, ["inference"]);
  const refused = await runRecorded(environment(inference.key), "export", "list");
  expect(refused.code).toBe(1);
  expect(refused.err).toContain("lacks the scope 'admin'");
  const another = await run("list", "--tenant", "Somebody");
  expect(another.code).toBe(1);
  expect(another.err).toContain("With an admin key of the tenant, leave it out.\nectus: ");
});

test("when there are as many exports as may be, it says which and what to do about each", async () => {
  const { tenantId, key } = await makeAdmin();
  const { id: waits } = await insertExport(api, tenantId, { state: "queued" });
  const { id: runs } = await insertExport(api, tenantId, {
    ...{ state: "running", phase: "tables", attempt: 1, started_at: new Date() },
    ...{ worker_id: "01990000-0000-7000-8000-000000000000", lease_until: new Date(Date.now() + 600_000) },
  });
  await insertExport(api, tenantId, {
    state: "failed",
    finished_at: new Date(),
    error_code: "internal_error",
  });
  const { code, err } = await runRecorded(environment(key), "export", "create", "--wait");
  expect(code).toBe(1);
  expect(err).toContain(
    `The export ${runs} runs. Wait for it with: ectus export status ${runs} --wait\nDelete it with: ectus export delete ${runs}\n`,
  );
  // A worker may take this one up at any time.
  expect(err).toContain(`Delete it with: ectus export delete ${waits}\n`);
  expect(err.match(/^The export /gm)).toHaveLength(2);
  expect(err).toContain("ectus: There are 2 exports that wait or run");
});

test("a wait that the API ends, not the export, says how to go on", async () => {
  let asked = 0;
  const id = `export-${"0".repeat(32)}`;
  const progress = { rows_done: 0, rows_expected: null, bytes_done: 0, bytes_expected: null };
  const url = await listen(
    createServer((_request, response) => {
      asked += 1;
      if (asked === 1)
        response.end(
          JSON.stringify({ id, object: "export", state: "running", phase: "tables", attempt: 1, progress }),
        );
      else
        response
          .writeHead(401)
          .end(JSON.stringify({ error: { message: "It was revoked.", code: "invalid_api_key" } }));
    }),
  );
  const { code, err } = await runRecorded(
    { ...environment(), ECTUS_URL: url },
    ...["export", "status", id, "--wait"],
  );
  expect(code).toBe(1);
  expect(err).toContain(`Wait for it with: ectus export status ${id} --wait\n`);
  expect(err).toMatch(/^ectus: It was revoked\.$/m);
});

test.each([
  [["create", "--format", "xml"], "Allowed choices are ndjson, csv"],
  [["create", "--tables", "a;b"], "Accepts names of tables"],
  [["create", "--from", "yesterday"], "Accepts a time like"],
  [["create", "--idempotency-key", "a€b"], "Accepts 1 to 255 visible ASCII characters"],
  [["status", "nonsense"], "Accepts an id like export-"],
  [["list", "--limit", "0"], "Accepts a whole number"],
  [["list", "--url", "ftp://example.com"], "accepts a URL like https://"],
  [["list", "--url", "http://user:pass@example.com"], "[secret]@"],
])("%j is a wrong use", async (args, message) => {
  const { code, err } = await run(...args);
  expect(code).toBe(2);
  expect(err).toContain(message);
  expect(err).not.toContain("user:pass");
});

test("with the same idempotency key the same export is given, and for another request none", async () => {
  const args = ["create", "--tables", "users", "--idempotency-key", `key-${places}`];
  const { id } = await runJson(...args);
  expect((await runJson(...args)).id).toBe(id);
  const other = await run("create", "--tables", "files", "--idempotency-key", `key-${places}`);
  expect(other.code).toBe(1);
  expect(other.err).toContain("The Idempotency-Key was used before");
});

test("a request whose answer is lost is sent again, and there is one export", async () => {
  const { key } = await makeAdmin();
  const keys: unknown[] = [];
  const proxy = createServer(async (request, response) => {
    const { authorization = "", "idempotency-key": idempotencyKey = "" } = request.headers;
    keys.push(idempotencyKey);
    const answer = await fetch(api.url + request.url, {
      method: "POST",
      headers: {
        authorization,
        "idempotency-key": String(idempotencyKey),
        "content-type": "application/json",
      },
      body: await new Response(Readable.toWeb(request) as ReadableStream).text(),
    });
    if (keys.length === 1) response.destroy();
    else response.writeHead(answer.status).end(await answer.text());
  });
  const url = await listen(proxy);
  const { code, err } = await runRecorded({ ...environment(key), ECTUS_URL: url }, "export", "create");
  expect(code).toBe(0);
  expect(err).toMatch(/cannot be reached: .*\. Trying again\.\n$/);
  expect(keys).toEqual([expect.stringMatching(/^[\da-f-]{36}$/), keys[0]]);
  const list = await runRecorded(environment(key), "export", "list", "--json");
  expect(JSON.parse(list.out).data).toHaveLength(1);
});

test("a list may be longer than a page of the API, the newest first", async () => {
  const { tenantId, key } = await makeAdmin();
  await api.sql(
    `insert into exports (tenant_id, id, created_by_type, row_format, compression, scope, state, phase, error_code, error_message, finished_at)
     select $1, ('01990000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'api_key', 'csv', 'gzip', '{"tables":[],"files":true,"auditLog":false}', 'failed', 'tables', 'internal_error', 'It failed.', now()
     from generate_series(1, 120) n`,
    [tenantId],
  );
  const all = await runRecorded(environment(key), "export", "list", "--limit", "110", "--json");
  const { data, has_more } = JSON.parse(all.out);
  const ids = data.map(({ id }: { id: string }) => id);
  expect(ids).toHaveLength(110);
  expect(ids).toEqual(ids.toSorted().reverse());
  expect(has_more).toBe(true);
  const rest = await runRecorded(environment(key), "export", "list", "--after", ids.at(-1));
  expect(rest.out.match(/^export-/gm)).toHaveLength(10);
  expect(rest.out).toMatch(/ failed +\S+ +csv\.gzip +- +-$/m);
  const oldest = rest.out.match(/^export-\w+/gm)?.at(-1) ?? "";
  const none = await runRecorded(environment(key), "export", "list", "--after", oldest);
  expect(none.out).toBe("There are no older ones.\n");
});

test("a stop ends the waiting and not the export, and says how to go on", async () => {
  // Nobody makes it: a worker has it, and says nothing more.
  const { tenantId, key } = await makeAdmin();
  const { id } = await insertExport(api, tenantId, {
    ...{
      state: "running",
      phase: "tables",
      attempt: 1,
      rows_done: 5,
      rows_expected: 10,
      started_at: new Date(),
    },
    ...{ worker_id: "01990000-0000-7000-8000-000000000000", lease_until: new Date(Date.now() + 600_000) },
  });
  const recorded = recordContext(environment(key));
  const ended = runProgram(["export", "status", id, "--wait"], recorded.context);
  await recorded.printed(`${id}: writing tables`);
  recorded.signal();
  expect(await ended).toBe(1);
  expect(recorded.err()).toContain(
    `The export goes on without this command. Wait for it with: ectus export status ${id} --wait\n`,
  );
  expect((await runRecorded(environment(key), "export", "status", id)).out).toMatch(
    /^state +running: writing tables$/m,
  );
});

test("an export that failed is told with its reason, and one that is not ready has nothing to download", async () => {
  const { tenantId, key } = await makeAdmin();
  const failed = await insertExport(api, tenantId, {
    ...{ state: "failed", finished_at: new Date(), error_code: "export_incomplete" },
    error_message: "The export was given up, since it would not have been complete: a row is missing.",
  });
  const waited = await runRecorded(environment(key), "export", "status", failed.id, "--wait");
  expect(waited.code).toBe(1);
  expect(waited.err).toContain(
    "ectus: The export was given up, since it would not have been complete: a row is missing.",
  );
  expect((await runRecorded(environment(key), "export", "status", failed.id)).code).toBe(0);
  const download = await runRecorded(environment(key), "export", "download", failed.id);
  expect(download.code).toBe(1);
  expect(download.err).toContain(
    `There is nothing to download of the export ${failed.id}: it failed. The export was given up`,
  );
});

test("a download that was cut off goes on with the same command", async () => {
  const { tenantId, key } = await makeAdmin();
  const { id, bagName } = await makeReadyExport(api, tenantId, [
    { path: "data/files/one.bin", content: contentOf(3_000_000) },
  ]);
  const whole = join(place, "whole.tar");
  const args = ["export", "download", id, "--no-verify", "--output"];
  expect((await runRecorded(environment(key), ...args, whole)).code).toBe(0);

  const target = join(place, `${bagName}.tar`);
  const { url, cut } = await cuttingProxy(1_000_000);
  const recorded = recordContext({ ...environment(key), ECTUS_URL: url });
  const ended = runProgram([...args, place], recorded.context);
  await cut;
  await recorded.printed("The connection broke");
  recorded.signal();
  expect(await ended).toBe(1);
  expect(recorded.err()).toContain(
    `What is here stays. Go on from it with: ectus export download ${id} --output '${place}'`,
  );
  expect(await readdir(place)).toEqual([`${bagName}.tar.part`, `${bagName}.tar.part.json`, "whole.tar"]);
  const { size } = await stat(`${target}.part`);
  expect(size).toBeGreaterThan(0);
  const { code, out } = await runRecorded(environment(key), ...args, place);
  expect(code).toBe(0);
  expect(out).toContain(`, ${size} of them from before).`);
  expect(Buffer.compare(await readFile(target), await readFile(whole))).toBe(0);
});

/** Passes on what the API answers, and breaks the first answer after so many bytes. */
async function cuttingProxy(most: number): Promise<{ url: string; cut: Promise<void> }> {
  const cut = Promise.withResolvers<void>();
  const proxy = createServer(async (request, response) => {
    const answer = await fetch(api.url + request.url, {
      headers: { authorization: request.headers.authorization ?? "" },
    });
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (!request.url?.endsWith("/download")) {
      response.end(await answer.text());
      return;
    }
    const bytes = Buffer.from(await answer.arrayBuffer());
    response.write(bytes.subarray(0, most), () => {
      response.destroy();
      cut.resolve();
    });
  });
  return { url: await listen(proxy), cut: cut.promise };
}

async function listen(server: Server): Promise<string> {
  await once(server.listen(0, "127.0.0.1"), "listening");
  closing.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
test("a file that is there is not replaced without --force", async () => {
  const { tenantId, key } = await makeAdmin();
  const { id, bagName } = await makeReadyExport(api, tenantId);
  const path = join(place, `${bagName}.tar`);
  await writeFile(path, "precious");
  const refused = await runRecorded(
    environment(key),
    "export",
    "download",
    id,
    "--output",
    place,
    "--no-verify",
  );
  expect(refused.code).toBe(1);
  expect(refused.err).toContain(`${path} is there already.`);
  expect(await readFile(path, "utf8")).toBe("precious");
  const early = await runRecorded(environment(key), "export", "create", "--download", path);
  expect(early.err).toContain("is there already.");
  const forced = await runRecorded(
    environment(key),
    ...["export", "download", id, "--output", place, "--no-verify", "--force"],
  );
  expect(forced.code).toBe(0);
  expect(await readFile(path, "latin1")).toContain("ustar");
});

test("a place where the file cannot be is told before anything is asked for", async () => {
  const { tenantId, key } = await makeAdmin();
  const { id, bagName } = await makeReadyExport(api, tenantId);
  const inFile = join(place, "file");
  await writeFile(inFile, "");
  const folder = join(place, `${bagName}.tar`);
  await mkdir(folder);
  for (const [path, reason] of [
    [join(place, "none", "bag.tar"), "there is no such folder"],
    [join(place, "none/"), "there is no such folder"],
    [join(inFile, "bag.tar"), "a file is where a folder should be"],
  ] as const) {
    for (const args of [
      ["create", "--download", path],
      ["download", id, "--output", path],
    ]) {
      const { code, err } = await runRecorded(environment(key), "export", ...args);
      expect(code).toBe(1);
      expect(err).toContain(`ectus: ${path} cannot be written: ${reason}.`);
    }
  }
  const download = await runRecorded(
    environment(key),
    "export",
    "download",
    id,
    "--output",
    place,
    "--force",
  );
  expect(download).toEqual({
    ...{ code: 1, out: "" },
    err: `ectus: ${folder} cannot be written: a folder has that name. Name another place.\n`,
  });
  const list = await runRecorded(environment(key), "export", "list", "--json");
  expect(JSON.parse(list.out).data).toHaveLength(1);
});

test.each(["../../escaped", "/etc/passwd", ".hidden", "a\nb", "x".repeat(300)])(
  "a server whose bag is called %j writes nothing outside",
  async (name) => {
    const { tenantId, key } = await makeAdmin();
    const { id } = await makeReadyExport(api, tenantId);
    const url = await lyingProxy(name);
    const { code, err } = await runRecorded(
      { ...environment(key), ECTUS_URL: url },
      ...["export", "download", id, "--output", place],
    );
    expect(code).toBe(1);
    expect(err).toContain("a bag's name that cannot be a file's");
    expect(await readdir(place)).toEqual([]);
  },
);

/** Answers as the API does, but for the names of bags. */
async function lyingProxy(name: string): Promise<string> {
  const proxy = createServer(async (request, response) => {
    const answer = await fetch(api.url + request.url, {
      headers: { authorization: request.headers.authorization ?? "" },
    });
    const state = JSON.parse(await answer.text());
    response.end(JSON.stringify({ ...state, bag: { ...state.bag, name } }));
  });
  return listen(proxy);
}

test("what was changed in a bag is told, each fault on a line, and the code is 1", async () => {
  const made = await runJson(
    "create",
    "--compression",
    "none",
    "--tables",
    "files",
    "--idempotency-key",
    `key-${places}`,
  );
  expect((await run("status", made.id, "--wait")).code).toBe(0);
  const path = join(place, "bag.tar");
  const download = await run("download", made.id, "--output", path);
  expect(download).toEqual({ ...download, code: 0 });
  const unnamed = await run("verify", path);
  expect(unnamed.code).toBe(0);
  expect(unnamed.out).toContain("by whom is not proved");
  expect(unnamed.out).toContain(`the key that the bag itself names, ${signingKey.publicKey.kid}`);
  expect(unnamed.out).toMatch(new RegExp(`^export +${made.id}$`, "m"));

  const keys = join(place, "keys.json");
  const other = createSigningKey(randomBytes(32).toString("base64url")).publicKey;
  await writeFile(keys, JSON.stringify({ keys: [other] }));
  const others = await run("verify", path, "--keys", keys);
  expect(others.code).toBe(1);
  expect(others.out).toContain(
    "Nothing is missing and nothing was changed since it was signed, but NOT by a key that was given",
  );

  const changed = join(place, "changed.tar");
  await copyFile(path, changed);
  const at = (await readFile(changed)).indexOf('"purpose":"user_data"') + 12;
  await using handle = await open(changed, "r+");
  await handle.write("X", at);
  const { code, out, err } = await run("verify", changed);
  expect(code).toBe(1);
  expect(err).toBe("");
  expect(out).toMatch(/^data\/tables\/files\/part-00001\.ndjson: .+\.$/m);
  expect(out).toContain("This export is NOT whole and unchanged: see above.");
  expect(JSON.parse((await run("verify", changed, "--json")).out)).toMatchObject({ ok: false });
});

test("a download whose contents do not verify ends with 1 and stays", async () => {
  const { tenantId, key } = await makeAdmin();
  // Its tag files are none.
  const { id } = await makeReadyExport(api, tenantId);
  const { code, out } = await runRecorded(environment(key), "export", "download", id, "--output", place);
  expect(code).toBe(1);
  expect(out).toContain("NOT whole");
  const [name = ""] = await readdir(place);
  expect(out).toContain(`with: ectus export download ${id} --output '${join(place, name)}' --force\n`);
  expect(await readdir(place)).toHaveLength(1);
});

test("verify says what is no bag and what are no keys", async () => {
  const missing = await run("verify", join(place, "none.tar"));
  expect(missing.code).toBe(1);
  expect(missing.err).toContain("there is nothing at");
  const keys = join(place, "keys.json");
  await writeFile(keys, "[]");
  const unusable = await run("verify", place, "--keys", keys);
  expect(unusable.code).toBe(2);
  expect(unusable.err).toContain(`--keys: ${keys} cannot be used: These are no signing keys`);
});

test("the operator exports for a tenant by its id or by a name that only one has", async () => {
  const operator = (...args: string[]) => runRecorded(environment(api.operatorKey), "export", ...args);
  const made = await api.request("POST", "/admin/tenants", {
    key: api.operatorKey,
    body: { name: `Umbrella ${places}` },
  });
  const byName = await operator("create", "--tenant", `Umbrella ${places}`, "--json");
  expect(byName.code).toBe(0);
  const list = await operator("list", "--tenant", made.json.id, "--json");
  expect(JSON.parse(list.out).data).toMatchObject([{ id: JSON.parse(byName.out).id }]);

  const several = await operator("list", "--tenant", "A test's tenant");
  expect(several.code).toBe(1);
  expect(several.err).toContain("More than one tenant is called 'A test's tenant'");
  expect(several.err).toContain(admin.tenantId);
  const unknown = await operator("list", "--tenant", "Nobody");
  expect(unknown.code).toBe(1);
  expect(unknown.err).toContain("No tenant with id 'Nobody'");
});

test("an empty list says how to begin", async () => {
  const { key } = await makeAdmin();
  const { out } = await runRecorded(environment(key), "export", "list");
  expect(out).toBe("There are no exports. Make one with: ectus export create\n");
});
