// Downloads of exports that break off: by faults of the storage, whether it gives streams or readers, by deletion, by
// their clients, and by the end of the server. None ends as if it were whole.
import { mkdtemp, rm, truncate, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import { type RawConnection, rawConnection } from "./raw-http.ts";
import { contentOf, type MadeExport, makeReadyExport } from "./ready-export.ts";
import { type Answer, startApi, type TestApi } from "./start-api.ts";

const rows = { path: "data/tables/messages/part-00001.ndjson.zst", content: contentOf(1_500_000, 2) };
const payload = [rows, { path: "data/tables/users/part-00001.csv", content: Buffer.from('id\r\n"1"\r\n') }];

let folder: string;
let storageDir: string;
/** Reads go through these, as far as the storage has them. */
let read: BlobStorage["read"];
let open: BlobStorage["open"];
let api: TestApi;
let tenantId: string;
let adminKey: string;
let made: MadeExport;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-broken-downloads-"));
  storageDir = join(folder, "files");
  const local = await openStorage(pathToFileURL(storageDir).href);
  ({ read, open } = local);
  const storage = { ...local, read: (...args: Parameters<BlobStorage["read"]>) => read(...args) };
  api = await startApi({ storage: Object.defineProperty(storage, "open", { get: () => open }) });
  tenantId = (await api.makeTenant()).id;
  adminKey = (await api.makeKey(tenantId, ["admin"])).key;
  made = await makeReadyExport(api, tenantId, payload);
});
afterAll(async () => {
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

async function get(rest = "/download", headers: Record<string, string> = {}, { id } = made) {
  const response = await fetch(`${api.url}/v1/exports/${id}${rest}`, {
    headers: { authorization: `Bearer ${adminKey}`, ...headers },
  });
  const body = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, body };
}
const request = (method: string, path: string): Promise<Answer> =>
  api.request(method, path, { key: adminKey });

/** What the log says of downloads that broke off since `from`. */
const broken = (from: number) =>
  api.logLines.slice(from).flatMap((line) => {
    const entry = JSON.parse(line);
    return /broke off|went away/.test(entry.msg) ? [entry] : [];
  });
const accessLines = (from: number) =>
  api.logLines.slice(from).flatMap((line) => {
    const entry = JSON.parse(line);
    return entry.msg === "request" ? [entry] : [];
  });

describe.each(["streams", "readers"])("a download from %s that breaks off", (kind) => {
  let before: Pick<BlobStorage, "read" | "open">;
  beforeEach(() => {
    before = { read, ...(open === undefined ? {} : { open }) };
    if (kind === "streams") open = undefined;
  });
  afterEach(() => {
    ({ read, open } = before);
  });

  /** Does something before each blob is opened. */
  function beforeOpening(work: (blobId: string) => Promise<void> | void): void {
    const [reading, opening] = [read, open];
    read = async (tenant, blob, range) => {
      await work(blob);
      return reading(tenant, blob, range);
    };
    open =
      opening &&
      (async (tenant, blob) => {
        await work(blob);
        return opening(tenant, blob);
      });
  }
  const blobOf = (path: string, { files } = made): string =>
    files.find((file) => file.path === path)?.blobId as string;

  test("because the storage fails in the middle is cut, logged, and counted as a failure", async () => {
    const [reading, opening] = [read, open];
    const from = api.logLines.length;
    read = async (tenant, blob, range) => {
      if (blob !== blobOf(rows.path)) return reading(tenant, blob, range);
      return Readable.from(
        (async function* () {
          for (let chunk = 0; chunk < 7; chunk += 1) yield contentOf(100_000, 2);
          throw new Error("the disk is gone");
        })(),
      );
    };
    open =
      opening &&
      (async (tenant, blob) => {
        const reader = await opening(tenant, blob);
        if (blob !== blobOf(rows.path)) return reader;
        return {
          ...reader,
          read: (into, position) =>
            position < 700_000 ? reader.read(into, position) : Promise.reject(new Error("the disk is gone")),
        };
      });
    await expect(get()).rejects.toThrow();
    await expect(get(`/files/${rows.path}`)).rejects.toThrow();
    await until(() => broken(from).length === 2 && accessLines(from).length === 2);
    expect(broken(from)).toMatchObject([
      { level: "error", exportId: made.uuid },
      { level: "error", exportId: made.uuid },
    ]);
    for (const line of accessLines(from)) expect(line).toMatchObject({ status: 500, code: "storage_error" });
  });

  test("before its first file has begun is answered with an error, and was no download", async () => {
    const fresh = await makeReadyExport(api, tenantId, payload);
    beforeOpening(() => {
      throw new Error("the disk is gone");
    });
    for (const range of [undefined, "bytes=100-", "bytes=-2000"]) {
      const { status, headers, body } = await get("/download", range === undefined ? {} : { range }, fresh);
      expect(status, range).toBe(500);
      expect(headers.get("content-type")).toContain("application/json");
      expect(headers.get("content-length")).toBe(String(body.length));
      expect(headers.get("content-range")).toBe(null);
    }
    const noted = await api.sql("select 1 from audit_log where target_id = $1", [fresh.uuid]);
    expect(noted).toEqual([]);
  });

  test("because a blob is missing, shorter or longer never ends as if it were whole", async () => {
    for (const change of [
      (path: string) => unlink(path),
      (path: string) => truncate(path, 1_499_999),
      (path: string) => truncate(path, 1_500_001),
    ]) {
      const changed = await makeReadyExport(api, tenantId, payload);
      await change(join(storageDir, tenantId, blobOf(rows.path, changed)));
      const from = api.logLines.length;
      await expect(get("/download", {}, changed)).rejects.toThrow();
      await until(() => broken(from).length === 1 && accessLines(from).length === 1);
      expect(broken(from)[0]).toMatchObject({ level: "error", exportId: changed.uuid });
      expect(accessLines(from)[0]).toMatchObject({ status: 500, code: "storage_error" });
      const single = await get(`/files/${rows.path}`, {}, changed).catch((error: Error) => error);
      if (!(single instanceof Error)) {
        expect(single.status).toBe(500);
        expect(single.headers.get("content-type")).toBe("application/json; charset=utf-8");
        expect(single.headers.get("etag")).toBe(null);
        expect(JSON.parse(single.body.toString()).error.code).toBe("storage_error");
      }
      // Ranges that do not need it are well.
      expect((await get("/download", { range: "bytes=0-511" }, changed)).status).toBe(206);
    }
  });

  test("because the export is deleted meanwhile is cut, and no failure of this platform", async () => {
    const doomed = await makeReadyExport(api, tenantId, payload);
    const from = api.logLines.length;
    const { promise: isDeleted, resolve: deleted } = Promise.withResolvers<void>();
    const { promise: isReached, resolve: reached } = Promise.withResolvers<void>();
    beforeOpening(async (blob) => {
      if (blob !== blobOf(rows.path, doomed)) return;
      reached();
      await isDeleted;
    });
    const download = get("/download", {}, doomed);
    download.catch(() => {});
    await isReached;
    expect((await request("DELETE", `/v1/exports/${doomed.id}`)).status).toBe(200);
    deleted();
    await expect(download).rejects.toThrow();
    await until(() => broken(from).length === 1);
    expect(broken(from)[0]).toMatchObject({ level: "info", exportId: doomed.uuid });
    expect((await get("/download", {}, doomed)).status).toBe(404);
  });

  test("because its client left stops the reading, and is no fault", async () => {
    const [reading, opening] = [read, open];
    const from = api.logLines.length;
    const opened: (() => boolean)[] = [];
    read = async (...args) => {
      const stream = await reading(...args);
      opened.push(() => stream.closed);
      return stream;
    };
    open =
      opening &&
      (async (...args) => {
        const reader = await opening(...args);
        let isClosed = false;
        opened.push(() => isClosed);
        return {
          ...reader,
          close: async () => {
            isClosed = true;
            await reader.close();
          },
        };
      });
    const big = await makeReadyExport(api, tenantId, [
      { path: "data/tables/api_keys/part-00001.ndjson", content: Buffer.alloc(64 * 1024 * 1024) },
      rows,
    ]);
    const connection = await rawConnection(api.url);
    connection.write(
      `GET /v1/exports/${big.id}/download HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${adminKey}\r\n\r\n`,
    );
    await connection.until(/\r\n\r\n/);
    // It takes no more, so the rest of the large file stays where it is.
    connection.socket.pause();
    await until(() => opened.length === 5);
    connection.socket.resetAndDestroy();
    await until(() => opened.every((isClosed) => isClosed()));
    // The file after it was never opened.
    expect(opened).toHaveLength(5);
    await until(() => accessLines(from).length === 1);
    expect(accessLines(from)[0]).toMatchObject({ status: 499 });
    expect(broken(from)).toEqual([]);
  });

  test("because its client takes nothing more is cut in time", async () => {
    await using impatient = await startApi({ stallMs: 300 });
    const tenant = await impatient.makeTenant();
    const { key } = await impatient.makeKey(tenant.id, ["admin"]);
    const big = await makeReadyExport(impatient, tenant.id, [
      { path: "data/tables/api_keys/part-00001.ndjson", content: Buffer.alloc(64 * 1024 * 1024) },
    ]);
    const connection = await rawConnection(impatient.url);
    connection.write(
      `GET /v1/exports/${big.id}/download HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`,
    );
    await connection.until(/\r\n\r\n/);
    connection.socket.pause();
    await until(() => impatient.server.inProgress === 0);
    connection.socket.destroy();
  });

  test("because the storage is silent for longer than a client may be is the storage's fault", async () => {
    const [reading, opening] = [read, open];
    const { promise: isFailing, reject: fail } = Promise.withResolvers<never>();
    isFailing.catch(() => {});
    read = async (tenant, blob, range) => {
      if (blob !== blobOf(rows.path, slow)) return reading(tenant, blob, range);
      return Readable.from(
        (async function* () {
          yield contentOf(100_000, 2);
          yield contentOf(100_000, 2);
          yield await isFailing;
        })(),
      );
    };
    open =
      opening &&
      (async (tenant, blob) => {
        const reader = await opening(tenant, blob);
        if (blob !== blobOf(rows.path, slow)) return reader;
        return { ...reader, read: (into, at) => (at < 200_000 ? reader.read(into, at) : isFailing) };
      });
    const { storage } = api.serverOptions;
    const stallMs = 300;
    await using impatient = await startApi({ storage, stallMs });
    const tenant = await impatient.makeTenant();
    const { key } = await impatient.makeKey(tenant.id, ["admin"]);
    const slow = await makeReadyExport(impatient, tenant.id, payload);
    const connection = await rawConnection(impatient.url);
    let isCut = false;
    connection.socket.on("close", () => {
      isCut = true;
    });
    connection.write(
      `GET /v1/exports/${slow.id}/download HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`,
    );
    await connection.until(/\r\n\r\n/);
    const since = performance.now();
    await until(() => isCut || performance.now() - since > 4 * stallMs);
    expect(isCut).toBe(false);
    fail(new Error("the disk is gone"));
    await connection.closed();
    const lines = () => impatient.logLines.map((line) => JSON.parse(line));
    await until(() => lines().some(({ msg }) => msg === "request"));
    expect(lines().find(({ msg }) => msg === "request")).toMatchObject({
      status: 500,
      code: "storage_error",
    });
  });

  test("because the server stops is cut after its grace", async () => {
    const stopping = await startApi();
    const tenant = await stopping.makeTenant();
    const { key } = await stopping.makeKey(tenant.id, ["admin"]);
    const big = await makeReadyExport(stopping, tenant.id, [
      { path: "data/tables/api_keys/part-00001.ndjson", content: Buffer.alloc(64 * 1024 * 1024) },
    ]);
    const connection = await rawConnection(stopping.url);
    connection.write(
      `GET /v1/exports/${big.id}/download HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`,
    );
    await connection.until(/\r\n\r\n/);
    connection.socket.pause();
    const since = performance.now();
    await stopping.close(50);
    // What is not cut is waited for, for 5 s more.
    expect(performance.now() - since).toBeLessThan(4_000);
    connection.socket.destroy();
  });
});

test("a tenant has 32 downloads at a time and no more, and each that ends makes room", async () => {
  const tenant = await api.makeTenant();
  const { key } = await api.makeKey(tenant.id, ["admin"]);
  const big = await makeReadyExport(api, tenant.id, [
    { path: "data/tables/api_keys/part-00001.ndjson", content: Buffer.alloc(64 * 1024 * 1024) },
  ]);
  const begin = async (): Promise<RawConnection> => {
    const connection = await rawConnection(api.url);
    connection.write(
      `GET /v1/exports/${big.id}/download HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`,
    );
    await connection.until(/\r\n\r\n/);
    connection.socket.pause();
    return connection;
  };
  const begun = await Promise.all(Array.from({ length: 32 }, begin));
  expect(new Set(begun.map(({ received }) => received.slice(0, 12)))).toEqual(new Set(["HTTP/1.1 200"]));
  const small = `/v1/exports/${big.id}/files/bagit.txt`;
  const refused = await api.request("GET", small, { key });
  expect([refused.status, refused.json.error.code]).toEqual([429, "overloaded"]);
  expect(refused.json.error.message).toContain("the 32 downloads that a tenant may have at a time");
  expect(refused.headers.get("retry-after")).toBe("5");
  // What sends no contents holds nothing.
  expect((await api.request("HEAD", small, { key })).status).toBe(200);
  // Of others there are as many.
  expect((await get("/files/bagit.txt")).status).toBe(200);
  for (const { socket } of begun) socket.destroy();
  await until(async () => (await api.request("GET", small, { key })).status === 200);
});
