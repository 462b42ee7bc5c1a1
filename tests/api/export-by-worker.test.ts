// A tenant's data from the request for an export to the files on the tenant's own disk: the real worker writes the bag,
// curl downloads it over a line that breaks again and again, tar and sha256sum look at it. From a folder, and from S3.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { expireExport, startExportWorker } from "@ectus/database";
import { Registry } from "@ectus/metrics";
import { createInstruments } from "@ectus/monitoring";
import { peer } from "@ectus/peers";
import { openStorage } from "@ectus/storage";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { signingKey } from "../exports/run-export.ts";
import { samplesOf } from "../postgres/measured.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { until } from "../postgres/until.ts";
import { startFaultyProxy } from "../storage/faulty-proxy.ts";
import { type S3Server, startS3 } from "../storage/start-s3.ts";
import { type RawConnection, rawConnection } from "./raw-http.ts";
import { chatModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

const run = promisify(execFile);
const gateway = await peer("versitygw");
// More than sockets take at once: a client that stops reading stops the download in the middle.
const messages = 8_000;
const messageBytes = 4_000;
const partBytes = 1_000_000;

describe.each([
  { place: "a folder", isS3: false },
  { place: "S3", isS3: true },
])("an export in $place", ({ isS3 }) => {
  if (isS3 && gateway === undefined) {
    test.skip("without versitygw", () => {});
    return;
  }
  let folder: string;
  let s3: S3Server | undefined;
  let api: TestApi;
  let tenant: TestTenant;
  let adminKey: string;
  const registry = new Registry();
  const started = new AsyncDisposableStack();
  const idempotent = { "idempotency-key": "the-one" };
  const body = { format: "ndjson", compression: "none" };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-export-by-worker-"));
    started.defer(() => rm(folder, { recursive: true, force: true }));
    if (isS3) s3 = await startS3(gateway?.files.versitygw ?? "");
    started.defer(async () => s3?.stop());
    const storage = await openStorage(
      s3?.url() ?? pathToFileURL(join(folder, "files")).href,
      s3?.environment,
    );
    api = await startApi({ storage, poolSize: 8, instruments: createInstruments(registry) });
    started.defer(() => api.close());
    const worker = await startExportWorker({
      ...{ database: api.database, storage, signingKey, software: "tests", log: recordingLog().log },
      ...{ concurrency: 1, bytesPerSecond: 0, ttlMs: 3_600_000, partBytes },
    });
    started.defer(() => worker.stop());
    tenant = await api.makeTenant();
    adminKey = (await api.makeKey(tenant.id, ["admin"])).key;
    for (const [index, name] of ["a b.txt", "x/../y.pdf", "ü%0A.tar.gz", "none"].entries())
      await tenant.client.files.create({
        file: new File([`${name}\n`.repeat(index * 9_000)], name),
        purpose: "user_data",
      });
    await tenant.client.chat.completions.create({
      model: chatModel,
      messages: [{ role: "user", content: "Hi" }],
      store: true,
    });
    await api.sql(
      `insert into messages (tenant_id, completion_id, position, direction, role, body)
       select tenant_id, id, 10 + n, 'input', 'user',
              jsonb_build_object('role', 'user', 'content', repeat(md5(n::text), $3::integer / 32))
       from completions, generate_series(1, $2::integer) n where tenant_id = $1`,
      [tenant.id, messages, messageBytes],
    );
  });
  afterAll(() => started.disposeAsync());

  const uuidOf = (id: string): string => id.replace(/^export-(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  const request = (method: string, path: string, options = {}) =>
    api.request(method, `/v1/exports${path}`, { key: adminKey, ...options });

  async function exported(
    options = {},
  ): Promise<{ id: string; bag: { name: string; bytes: number; digest: string } }> {
    const { json, text } = await request("POST", "", { body, ...options });
    expect(json.id, text).toMatch(/^export-/);
    let shown = json;
    await until(async () => {
      shown = (await request("GET", `/${json.id}`)).json;
      expect(shown.state, JSON.stringify(shown)).not.toBe("failed");
      return shown.state === "ready";
    }, 20_000);
    return shown;
  }

  /** A download whose client has stopped reading in the middle. */
  async function paused(id: string): Promise<RawConnection> {
    const connection = await rawConnection(api.url);
    connection.write(
      `GET /v1/exports/${id}/download HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${adminKey}\r\n\r\n`,
    );
    await connection.until(/\r\n\r\n/);
    connection.socket.pause();
    return connection;
  }
  const logged = (from: number) => api.logLines.slice(from).map((line) => JSON.parse(line));
  const accesses = (from: number) =>
    logged(from).filter(({ msg, path }) => msg === "request" && path.endsWith("/download"));

  test("that curl was interrupted in at every tenth is whole in the end, and is what the tenant had", async () => {
    const { id, bag } = await exported({ headers: idempotent });
    const from = api.logLines.length;
    const proxy = await startFaultyProxy(api.url);
    const tar = join(folder, "bag.tar");
    let runs = 0;
    try {
      proxy.endAnswersAfter(Math.ceil(bag.bytes / 10), "cut");
      for (let code = 1; code !== 0; runs += 1) {
        if (runs > 20) throw new Error("curl does not come to an end");
        // While the same is asked for again.
        const again = request("POST", "", { body, headers: idempotent });
        code = await run("curl", [
          ...[
            "-sS",
            "--fail",
            "--max-time",
            "20",
            "-C",
            "-",
            "-o",
            tar,
            "-H",
            `Authorization: Bearer ${adminKey}`,
          ],
          `${proxy.endpoint}/v1/exports/${id}/download`,
        ]).then(
          () => 0,
          (error) => error.code,
        );
        expect([0, 18, 56]).toContain(code);
        expect((await again).json).toMatchObject({ id, state: "ready", bag });
      }
    } finally {
      await proxy.close();
    }
    expect(runs).toBeGreaterThanOrEqual(10);
    const whole = await fetch(`${api.url}/v1/exports/${id}/download`, {
      headers: { authorization: `Bearer ${adminKey}` },
    });
    expect((await readFile(tar)).equals(Buffer.from(await whole.arrayBuffer()))).toBe(true);

    await run("tar", ["-xf", tar, "-C", folder]);
    const at = join(folder, bag.name);
    for (const manifest of ["manifest-sha256.txt", "tagmanifest-sha256.txt"])
      await run("sha256sum", ["--check", "--strict", "--quiet", manifest], { cwd: at });
    expect(
      createHash("sha256")
        .update(await readFile(join(at, "tagmanifest-sha256.txt")))
        .digest("hex"),
    ).toBe(bag.digest);
    const files = await api.request("GET", "/v1/files", { key: tenant.key });
    expect(files.json.data).toHaveLength(4);
    const document = JSON.parse(await readFile(join(at, "export.json"), "utf8"));
    for (const { id: fileId } of files.json.data) {
      const hex = fileId.slice("file-".length);
      const { path } = document.files.find((file: { id: string }) => file.id.replaceAll("-", "") === hex);
      const { text } = await api.request("GET", `/v1/files/${fileId}/content`, { key: tenant.key });
      expect(await readFile(join(at, path), "utf8")).toBe(text);
      expect((await request("GET", `/${id}/files/${path}`)).text).toBe(text);
    }

    // Every connection is in the log and in the audit log, with what it began with.
    await until(() => accesses(from).length === runs + 1);
    const statuses = accesses(from).map(({ status }) => status);
    // What is left of the last ones that were cut may fit in the sockets' buffers: to the server they are whole.
    const likelyCut = runs - 4;
    expect(statuses.slice(0, likelyCut)).toEqual(Array(likelyCut).fill(499));
    expect(statuses.slice(likelyCut, -2).every((status) => status === 499 || status === 206)).toBe(true);
    expect(statuses.slice(-2)).toEqual([206, 200]);
    const noted = await api.sql<{ details: { range?: string; bytes: number } }>(
      "select details from audit_log where action = 'export.downloaded' and target_id = $1 and not details ? 'file' order by id",
      [uuidOf(id)],
    );
    expect(noted).toHaveLength(runs + 1);
    expect(noted[0]?.details).toEqual({ bytes: bag.bytes });
    expect(noted.slice(1, -1).every(({ details }) => details.range?.endsWith(`-${bag.bytes - 1}`))).toBe(
      true,
    );
    const sizes = samplesOf(registry, "http_response_size_bytes");
    const measured = sizes.find(({ labels }) => labels.path === "/v1/exports/:id/download");
    expect(measured?.value).toBe(runs + 1);
    expect(measured?.sum).toBeGreaterThanOrEqual(2 * bag.bytes);
  });

  test.each([
    {
      what: "expires",
      status: 410,
      code: "export_expired",
      async end(_id: string, uuid: string) {
        await api.sql("update exports set expires_at = now() where id = $1", [uuid]);
        for (const blob of (await expireExport(api.database, tenant.id, uuid)) ?? [])
          await api.serverOptions.storage.remove(tenant.id, blob);
      },
    },
    {
      what: "is deleted",
      status: 404,
      code: "not_found",
      async end(id: string) {
        expect((await request("DELETE", `/${id}`)).status).toBe(200);
      },
    },
  ])("that $what while it is downloaded is cut, and not there any more", async ({ status, code, end }) => {
    const { id } = await exported();
    const from = api.logLines.length;
    const connection = await paused(id);
    await end(id, uuidOf(id));
    connection.socket.resume();
    const received = await connection.closed();
    expect(received.length).toBeLessThan(Number(/content-length: (\d+)/.exec(received)?.[1]));
    await until(() => accesses(from).length === 1);
    expect(accesses(from)[0]).toMatchObject({ status, code });
    expect(logged(from).filter(({ level }) => level === "error")).toEqual([]);
    const after = await request("GET", `/${id}/download`, { headers: { range: "bytes=1000-" } });
    expect([after.status, after.json.error.code]).toEqual([status, code]);
  });

  test("is answered in ranges", async () => {
    const { id, bag } = await exported();
    const get = async (headers = {}) => {
      const answer = await fetch(`${api.url}/v1/exports/${id}/download`, {
        headers: { authorization: `Bearer ${adminKey}`, ...headers },
      });
      return Buffer.from(await answer.arrayBuffer());
    };
    const whole = await get();
    expect(whole.length).toBe(bag.bytes);
    for (let start = 0; start < bag.bytes; start += 3_333_333) {
      const end = start + 1_234_567;
      expect((await get({ range: `bytes=${start}-${end}` })).equals(whole.subarray(start, end + 1))).toBe(
        true,
      );
    }
    expect((await get({ range: "bytes=-1" })).equals(whole.subarray(-1))).toBe(true);
  });

  if (!isS3) return;

  test("whose server is killed is cut, logged, and answered with an error until it is back", async () => {
    const { id } = await exported();
    const from = api.logLines.length;
    const connection = await paused(id);
    await s3?.kill();
    try {
      connection.socket.resume();
      const received = await connection.closed();
      expect(received.length).toBeLessThan(Number(/content-length: (\d+)/.exec(received)?.[1]));
      await until(() => accesses(from).length === 1);
      expect(accesses(from)[0]).toMatchObject({ status: 500, code: "storage_error" });
      const broken = logged(from).filter(({ msg }) => msg === "a download of an export broke off");
      expect(broken).toMatchObject([{ level: "error" }]);
      expect(JSON.stringify(logged(from))).not.toContain(s3?.environment.AWS_SECRET_ACCESS_KEY);
      const refused = await request("GET", `/${id}/download`);
      expect([refused.status, refused.json.error.code]).toEqual([500, "storage_error"]);
      expect(refused.headers.get("content-type")).toContain("application/json");
      expect(refused.headers.get("etag")).toBe(null);
    } finally {
      await s3?.start();
    }
    expect((await request("GET", `/${id}/files/bagit.txt`)).status).toBe(200);
  });
});
