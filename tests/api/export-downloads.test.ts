// Downloads of exports, by clients that others wrote where they matter: whole, in ranges, and going on
// after a break.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import { parseAnswer, rawConnection } from "./raw-http.ts";
import { contentOf, insertExport, type MadeExport, makeReadyExport } from "./ready-export.ts";
import { type Answer, startApi, type TestApi } from "./start-api.ts";

const run = promisify(execFile);
const rows = { path: "data/tables/messages/part-00001.ndjson.zst", content: contentOf(1_500_000, 2) };
const payload = [
  rows,
  { path: "data/tables/users/part-00001.csv", content: Buffer.from('id\r\n"1"\r\n') },
  { path: "data/tables/usage/part-00001.ndjson", content: Buffer.alloc(0) },
  { path: "data/files/0190a000-0000-7000-8000-000000000001.html", content: contentOf(700_001, 3) },
];

let folder: string;
let api: TestApi;
let tenantId: string;
let adminKey: string;
let made: MadeExport;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-downloads-"));
  api = await startApi();
  tenantId = (await api.makeTenant()).id;
  adminKey = (await api.makeKey(tenantId, ["admin"])).key;
  made = await makeReadyExport(api, tenantId, payload);
});
afterAll(async () => {
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

const url = (rest = "/download", { id } = made): string => `${api.url}/v1/exports/${id}${rest}`;

async function get(rest = "/download", headers: Record<string, string> = {}, of = made, method = "GET") {
  const response = await fetch(url(rest, of), {
    method,
    headers: { authorization: `Bearer ${adminKey}`, ...headers },
  });
  return { response, status: response.status, headers: response.headers, body: await bytesOf(response) };
}
const bytesOf = async (response: Response): Promise<Buffer> => Buffer.from(await response.arrayBuffer());
const request = (method: string, path: string): Promise<Answer> =>
  api.request(method, path, { key: adminKey });

describe("the whole bag", () => {
  test("is a tar file that tar extracts, with every file as it was", async () => {
    const { status, headers, body } = await get();
    expect(status).toBe(200);
    expect(headers.get("content-type")).toBe("application/x-tar");
    expect(headers.get("content-length")).toBe(String(body.length));
    expect(headers.get("content-disposition")).toBe(`attachment; filename="${made.bagName}.tar"`);
    expect(headers.get("etag")).toBe(`"${made.digest}"`);
    expect(headers.get("accept-ranges")).toBe("bytes");
    expect(headers.get("last-modified")).toBe("Fri, 02 Jan 2026 03:04:05 GMT");
    expect(headers.get("cache-control")).toBe("private, no-cache, no-transform");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    const tar = join(folder, "bag.tar");
    await writeFile(tar, body);
    const { stdout } = await run("tar", ["-tf", tar]);
    const names = stdout.trim().split("\n");
    expect(names.toSorted()).toEqual(made.files.map(({ path }) => `${made.bagName}/${path}`).toSorted());
    // What describes the bag comes first.
    expect(names.slice(0, 4).every((name) => !name.includes("/data/"))).toBe(true);
    await run("tar", ["-xf", tar, "-C", folder]);
    for (const { path, content } of made.files) {
      const extracted = join(folder, made.bagName, path);
      expect((await readFile(extracted)).equals(content), path).toBe(true);
      expect((await stat(extracted)).mtime).toEqual(new Date("2026-01-02T03:04:05Z"));
    }
  });

  test("is the same each time, and HEAD has the same headers and no body", async () => {
    const [one, two] = [await get(), await get()];
    expect(one.body.equals(two.body)).toBe(true);
    // The client itself asks for another connection after HEAD.
    const varying = new Set(["date", "x-request-id", "x-correlation-id", "connection", "keep-alive"]);
    const shown = (headers: Headers) => [...headers].filter(([name]) => !varying.has(name));
    for (const rest of ["/download", "/files/bagit.txt"]) {
      const whole = await get(rest);
      // A range is for GET alone.
      const head = await get(rest, { range: "bytes=5-9" }, made, "HEAD");
      expect(head.status).toBe(200);
      expect(head.body).toHaveLength(0);
      expect(shown(head.headers)).toEqual(shown(whole.headers));
    }
  });

  test("in any range is that slice of it", async () => {
    const { body } = await get();
    const edges = fc.constantFrom(0, 1, 511, 512, 513, 1_023, 1_024, body.length - 1_025, body.length - 1);
    const place = fc.oneof(edges, fc.nat({ max: body.length - 1 }));
    await fc.assert(
      fc.asyncProperty(place, place, async (a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        const part = await get("/download", { range: `bytes=${start}-${end}` });
        expect(part.status).toBe(206);
        expect(part.headers.get("content-range")).toBe(`bytes ${start}-${end}/${body.length}`);
        expect(part.headers.get("content-length")).toBe(String(end - start + 1));
        expect(part.body.equals(body.subarray(start, end + 1))).toBe(true);
      }),
      { numRuns: 60 },
    );
    expect((await get("/download", { range: "bytes=-1000" })).body.equals(body.subarray(-1_000))).toBe(true);
    expect((await get("/download", { range: "bytes=5-" })).body.equals(body.subarray(5))).toBe(true);
  });

  test("from a range past its end is 416 and says how long it is", async () => {
    const bytes = (await get()).body.length;
    const { status, headers, body } = await get("/download", { range: `bytes=${bytes}-` });
    expect(status).toBe(416);
    expect(headers.get("content-range")).toBe(`bytes */${bytes}`);
    expect(headers.get("content-type")).toContain("application/json");
    expect(JSON.parse(body.toString()).error).toEqual({
      message: `The range begins after the end: there are ${bytes} bytes.`,
      type: "invalid_request_error",
      param: null,
      code: "range_not_satisfiable",
    });
  });

  test("is sent whole for several ranges, other units and what is none", async () => {
    const { body } = await get();
    for (const range of ["bytes=0-1,5-6", "rows=0-1", "bytes=2-1", "bytes=x"]) {
      const answer = await get("/download", { range });
      expect(answer.status, range).toBe(200);
      expect(answer.headers.get("content-range")).toBe(null);
      expect(answer.body.equals(body)).toBe(true);
    }
  });

  test("goes on only if it is still the same, else begins anew", async () => {
    const { body, headers } = await get();
    const range = "bytes=1000-";
    for (const ifRange of [headers.get("etag"), headers.get("last-modified")]) {
      const rest = await get("/download", { range, "if-range": String(ifRange) });
      expect(rest.status).toBe(206);
      expect(rest.body.equals(body.subarray(1_000))).toBe(true);
    }
    for (const ifRange of ['"0123"', `W/${headers.get("etag")}`, "Fri, 02 Jan 2026 03:04:06 GMT"]) {
      const whole = await get("/download", { range, "if-range": ifRange });
      expect(whole.status, ifRange).toBe(200);
      expect(whole.body.equals(body)).toBe(true);
    }
    const same = await get("/download", { "if-none-match": String(headers.get("etag")) });
    expect([same.status, same.body.length, same.headers.get("etag")]).toEqual([304, 0, headers.get("etag")]);
  });

  test("leaves the connection as it was, whatever was answered, and is never compressed", async () => {
    const { body } = await get();
    const connection = await rawConnection(api.url);
    let received = 0;
    for (const [method, header, status, length] of [
      ["GET", "range: bytes=99999999-", 416, undefined],
      ["GET", `if-none-match: "x", W/"${made.digest}"`, 304, 0],
      ["HEAD", `if-none-match: "${made.digest}"`, 304, 0],
      ["HEAD", "accept: */*", 200, 0],
      ["GET", "range: bytes=0-99", 206, 100],
      ["GET", "accept-encoding: gzip, br, zstd, deflate", 200, body.length],
    ] as const) {
      connection.write(
        `${method} /v1/exports/${made.id}/download HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${adminKey}\r\n${header}\r\n\r\n`,
      );
      const answerOf = () => parseAnswer(connection.received.slice(received));
      const lengthOf = () => length ?? Number(answerOf().headers["content-length"]);
      await connection.until(/\r\n\r\n/);
      await until(() => answerOf().status > 0 && answerOf().body.length === lengthOf());
      const answer = answerOf();
      expect(answer.status, header).toBe(status);
      expect(answer.headers.connection).toBe("keep-alive");
      expect(answer.headers["content-encoding"]).toBe(undefined);
      expect(answer.headers["transfer-encoding"]).toBe(undefined);
      if (method === "GET" && status !== 304)
        expect(answer.headers["content-length"]).toBe(String(lengthOf()));
      received = connection.received.length;
    }
    connection.socket.destroy();
  });

  test("breaks no header, whatever its name", async () => {
    const named = await makeReadyExport(api, tenantId, [], { bag_name: 'a"\r\nx-evil: 1; é' });
    const { status, headers } = await get("/download", {}, named);
    expect(status).toBe(200);
    expect(headers.get("x-evil")).toBe(null);
    expect(headers.get("content-disposition")).toBe('attachment; filename="a___x-evil__1___.tar"');
  });

  test("takes its list of files from the database once, and no more when it is gone", async () => {
    const fresh = await makeReadyExport(api, tenantId, payload);
    const { body } = await get("/download", {}, fresh);
    // A list of a hundred thousand files for each range would hold up every other request.
    await api.sql("delete from export_parts where export_id = $1", [fresh.uuid]);
    const again = await Promise.all(
      ["bytes=5-", "bytes=-5"].map((range) => get("/download", { range }, fresh)),
    );
    expect(again.map((part) => part.body.equals(body.subarray(part.body.length === 5 ? -5 : 5)))).toEqual([
      true,
      true,
    ]);
    await api.sql("delete from exports where id = $1", [fresh.uuid]);
    expect((await get("/download", {}, fresh)).status).toBe(404);
  });

  test("that curl was interrupted in goes on with -C - and is the same in the end", async () => {
    const { body } = await get();
    // Each connection is cut after so many bytes of its answer.
    const cutBytes = 300_000;
    const proxy = createServer((client) => {
      const server = connect(Number(new URL(api.url).port), "127.0.0.1");
      let left = cutBytes;
      client.pipe(server);
      server.on("data", (chunk: Buffer) => {
        client.write(chunk.subarray(0, left));
        left -= chunk.length;
        if (left <= 0) {
          client.destroySoon();
          server.destroy();
        }
      });
      for (const socket of [client, server]) socket.on("error", () => {});
      server.on("close", () => client.destroySoon());
      client.on("close", () => server.destroy());
    });
    await new Promise<void>((resolve) => void proxy.listen(0, "127.0.0.1", resolve));
    const file = join(folder, "resumed.tar");
    const through = url().replace(api.url, `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
    let runs = 0;
    try {
      for (let code = 1; code !== 0; runs += 1) {
        if (runs > 20) throw new Error("curl does not come to an end");
        code = await run("curl", [
          ...["-sS", "--fail", "--max-time", "20", "-C", "-", "-o", file],
          ...["-H", `Authorization: Bearer ${adminKey}`, through],
        ]).then(
          () => 0,
          (error) => error.code,
        );
        // Cut: curl's "transfer closed with outstanding read data remaining", or reset.
        expect([0, 18, 56]).toContain(code);
      }
    } finally {
      proxy.close();
    }
    expect(runs).toBeGreaterThan(5);
    expect((await readFile(file)).equals(body)).toBe(true);
  });
});

describe("a file of the bag", () => {
  test("is what its row says, with its digest", async () => {
    const types: Record<string, string> = {
      "export.json": "application/json",
      "bagit.txt": "text/plain; charset=utf-8",
      "export.json.sig": "application/octet-stream",
      [rows.path]: "application/octet-stream",
      "data/tables/users/part-00001.csv": "text/csv; charset=utf-8",
      "data/tables/usage/part-00001.ndjson": "application/x-ndjson",
      // Whatever its extension says.
      "data/files/0190a000-0000-7000-8000-000000000001.html": "application/octet-stream",
    };
    for (const { path, content } of made.files) {
      const { status, headers, body } = await get(`/files/${path}`);
      expect(status).toBe(200);
      expect(body.equals(content), path).toBe(true);
      const sha256 = createHash("sha256").update(content);
      expect(headers.get("content-length")).toBe(String(content.length));
      expect(headers.get("content-type")).toBe(types[path] ?? "text/plain; charset=utf-8");
      expect(headers.get("repr-digest")).toBe(`sha-256=:${sha256.copy().digest("base64")}:`);
      expect(headers.get("etag")).toBe(`"${sha256.digest("hex")}"`);
      expect(headers.get("content-disposition")).toBe(`attachment; filename="${path.split("/").at(-1)}"`);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
    }
  });

  test("can be asked for in ranges, with the digest of all of it", async () => {
    const sha256 = createHash("sha256").update(rows.content).digest("base64");
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 1_499_999 }), fc.nat({ max: 1_499_999 }), async (a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        const part = await get(`/files/${rows.path}`, { range: `bytes=${start}-${end}` });
        expect(part.status).toBe(206);
        expect(part.headers.get("repr-digest")).toBe(`sha-256=:${sha256}:`);
        expect(part.body.equals(rows.content.subarray(start, end + 1))).toBe(true);
      }),
      { numRuns: 20 },
    );
    const past = await get(`/files/${rows.path}`, { range: "bytes=1500000-" });
    expect([past.status, past.headers.get("content-range")]).toEqual([416, "bytes */1500000"]);
    const empty = await get("/files/data/tables/usage/part-00001.ndjson", { range: "bytes=0-" });
    expect([empty.status, empty.headers.get("content-range")]).toEqual([416, "bytes */0"]);
  });

  test("is found by its percent-encoded path too", async () => {
    expect((await get(`/files/${encodeURIComponent(rows.path)}`)).body.equals(rows.content)).toBe(true);
  });

  test("that is not in it is not there, whatever path is asked for", async () => {
    for (const path of [
      "",
      "data",
      "data/",
      "nothing.txt",
      "BAGIT.txt",
      "./bagit.txt",
      "%2e%2e/%2e%2e/etc/passwd",
      "..%2f..%2f..%2fetc%2fpasswd",
      "/etc/passwd",
      "bagit.txt%00",
      "%00",
      "bagit.txt%20",
      `${made.bagName}/bagit.txt`,
      made.files[0]?.blobId as string,
      "x".repeat(240),
      "x".repeat(10_000),
      "../".repeat(3_000),
      "..%2f".repeat(2_000),
      "data\\..\\bagit.txt",
      "%25",
      "_agit.txt",
      "' or 1=1 --",
    ]) {
      const connection = await rawConnection(api.url);
      connection.write(
        `GET /v1/exports/${made.id}/files/${encodeURI(path).replaceAll("%25", "%")} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${adminKey}\r\nconnection: close\r\n\r\n`,
      );
      const { status, body } = parseAnswer(await connection.closed());
      // A percent sign by itself is no path at all.
      expect([404, path === "%25" ? 400 : 404], path).toContain(status);
      expect(JSON.parse(body).error.message, path).toMatch(/No such file in this export|Unknown|not valid/);
    }
  });
});

describe("an export that cannot be downloaded", () => {
  const downloads = ["/download", "/files/bagit.txt"];

  test("because it waits, runs, failed or expired says so", async () => {
    const past = new Date("2026-01-05T00:00:00Z");
    for (const [columns, status, message] of [
      [
        { state: "queued" },
        409,
        "The export is queued, so there is nothing to download. Wait until its state is ready.",
      ],
      [
        { state: "running", lease_until: new Date(Date.now() + 60_000) },
        409,
        "The export is running, so there is nothing to download. Wait until its state is ready.",
      ],
      [
        { state: "failed", error_code: "export_incomplete", error_message: "A file was missing" },
        409,
        "The export is failed, so there is nothing to download: A file was missing",
      ],
      [
        { state: "expired", expires_at: past },
        410,
        "The export expired at 2026-01-05T00:00:00.000Z and was removed. Ask for a new one.",
      ],
    ] as const) {
      const { id } = await insertExport(api, tenantId, columns);
      for (const rest of downloads) {
        const answer = await request("GET", `/v1/exports/${id}${rest}`);
        expect([answer.status, answer.json.error.message], rest).toEqual([status, message]);
        expect((await request("HEAD", `/v1/exports/${id}${rest}`)).status).toBe(status);
      }
    }
    const over = await makeReadyExport(api, tenantId, [], { expires_at: past });
    for (const rest of downloads) {
      const answer = await request("GET", `/v1/exports/${over.id}${rest}`);
      expect([answer.status, answer.json.error.code], rest).toEqual([410, "export_expired"]);
    }
  });

  test("because it is another tenant's is not there, in the same words as one that does not exist", async () => {
    const other = await api.makeTenant();
    const { key } = await api.makeKey(other.id, ["admin", "inference"]);
    const unknown = `export-${"0".repeat(32)}`;
    for (const rest of downloads) {
      const foreign = await api.request("GET", `/v1/exports/${made.id}${rest}`, { key });
      const none = await api.request("GET", `/v1/exports/${unknown}${rest}`, { key });
      expect([foreign.status, none.status]).toEqual([404, 404]);
      expect(foreign.text.replaceAll(made.id, unknown)).toBe(none.text);
    }
    const { key: inference } = await api.makeKey(tenantId, ["inference"]);
    expect((await api.request("GET", `/v1/exports/${made.id}/download`, { key: inference })).status).toBe(
      403,
    );
  });
});

describe("the audit log", () => {
  test("has each download that begins, before its first byte, and nothing else", async () => {
    const fresh = await makeReadyExport(api, tenantId, payload);
    const noted = () =>
      api.sql<{ details: object; actor_id: string }>(
        "select details, actor_id from audit_log where target_id = $1 and action = 'export.downloaded' order by id",
        [fresh.uuid],
      );
    await get("/download", {}, fresh, "HEAD");
    await get("/files/bagit.txt", {}, fresh, "HEAD");
    await get("/download", { range: "bytes=999999999-" }, fresh);
    await get("/download", { "if-none-match": `"${fresh.digest}"` }, fresh);
    await get("/files/nothing", {}, fresh);
    expect(await noted()).toEqual([]);
    const { body } = await get("/download", {}, fresh);
    await get("/download", { range: "bytes=0-0" }, fresh);
    // Whoever wants no entry would leave out the first byte.
    await get("/download", { range: "bytes=1-" }, fresh);
    await get("/files/bagit.txt", {}, fresh);
    await get("/files/bagit.txt", { range: "bytes=-2" }, fresh);
    const details = (await noted()).map((entry) => entry.details);
    expect(details).toEqual([
      { bytes: body.length },
      { bytes: body.length, range: "0-0" },
      { bytes: body.length, range: `1-${body.length - 1}` },
      { file: "bagit.txt", bytes: 54 },
      { file: "bagit.txt", bytes: 54, range: "52-53" },
    ]);

    await api.sql(
      "create function refuse() returns trigger language plpgsql as 'begin raise exception ''no''; end'",
    );
    await api.sql("create trigger refuse before insert on audit_log for each row execute function refuse()");
    try {
      for (const rest of ["/download", "/files/bagit.txt"]) {
        const answer = await get(rest, {}, fresh);
        expect([answer.status, answer.headers.get("content-type")]).toEqual([
          500,
          "application/json; charset=utf-8",
        ]);
      }
    } finally {
      await api.sql("drop function refuse cascade");
    }
  });
});
