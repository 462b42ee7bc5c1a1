// Runs the download against a local HTTP server that cuts, stalls, ignores ranges and lies.
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type DownloadOptions, downloadResumable } from "./resumable-download.ts";

const content = randomBytes(300_000);
const etag = '"v1"';

interface Seen {
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

let folder: string;
let stopServer: () => Promise<void> = async () => undefined;
let seen: Seen[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-download-"));
  seen = [];
  cut = undefined;
});
afterEach(async () => {
  await stopServer();
  await rm(folder, { recursive: true, force: true });
});

type Handler = (request: IncomingMessage, response: ServerResponse, call: number) => void;

async function serve(handler: Handler): Promise<string> {
  const server = createServer((request, response) => {
    const { range, "if-range": ifRange } = request.headers;
    seen.push({ range, ifRange: typeof ifRange === "string" ? ifRange : undefined });
    handler(request, response, seen.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  stopServer = () =>
    new Promise((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`;
}

/** Answers as a server does that keeps to RFC 9110. */
const honest: Handler = (request, response) => {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (from === 0 || request.headers["if-range"] !== etag) {
    response.writeHead(200, { etag, "content-length": content.length });
    response.end(content);
    return;
  }
  response.writeHead(206, {
    etag,
    "content-range": `bytes ${from}-${content.length - 1}/${content.length}`,
    "content-length": content.length - from,
  });
  response.end(content.subarray(from));
};

let cut: (() => void) | undefined;

/** Sends the first bytes, then ends the connection once some of them have arrived. */
const cutAfter =
  (bytes: number): Handler =>
  (_request, response) => {
    response.writeHead(200, { etag, "content-length": content.length });
    response.write(content.subarray(0, bytes));
    cut = () => response.destroy();
  };

const partPath = () => join(folder, "model.gguf.part");

const download = (url: string, more: Partial<DownloadOptions> = {}) =>
  downloadResumable({
    url,
    partPath: partPath(),
    bytes: content.length,
    signal: new AbortController().signal,
    retryDelayMs: 1,
    stallTimeoutMs: 5_000,
    onProgress: () => cut?.(),
    ...more,
  });

describe("downloadResumable", () => {
  test("a file arrives whole, and its progress ends at its length", async () => {
    const progress: number[] = [];
    await download(await serve(honest), { onProgress: (bytes) => progress.push(bytes) });
    expect(await readFile(partPath())).toEqual(content);
    expect(progress.at(-1)).toBe(content.length);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
  });

  test("a connection that is cut is gone on with by Range and If-Range", async () => {
    const url = await serve((request, response, call) =>
      (call === 1 ? cutAfter(100_000) : honest)(request, response, call),
    );
    await download(url);
    expect(await readFile(partPath())).toEqual(content);
    expect(seen[0]).toEqual({ range: undefined, ifRange: undefined });
    expect(seen[1]?.range).toMatch(/^bytes=[1-9]\d*-$/);
    expect(seen[1]?.ifRange).toBe(etag);
  });

  test("a later call goes on where a stopped one ended", async () => {
    const url = await serve((request, response, call) =>
      (call === 1 ? cutAfter(100_000) : honest)(request, response, call),
    );
    await expect(download(url, { attempts: 1 })).rejects.toThrow();
    await download(url);
    expect(seen[1]?.range).toMatch(/^bytes=[1-9]\d*-$/);
    expect(await readFile(partPath())).toEqual(content);
  });

  test("a file that is complete already is not asked for again", async () => {
    const url = await serve(honest);
    await download(url);
    await download(url);
    expect(seen).toHaveLength(1);
  });

  test("a server that ignores Range starts the file anew", async () => {
    const url = await serve((_request, response, call) => {
      if (call === 1) return cutAfter(100_000)(_request, response, call);
      response.writeHead(200, { "content-length": content.length });
      response.end(content);
    });
    await download(url);
    expect(seen[1]?.range).toBeDefined();
    expect(await readFile(partPath())).toEqual(content);
  });

  test("a part of another version of the file is not gone on with", async () => {
    await writeFile(partPath(), "old bytes");
    await writeFile(`${partPath()}.json`, JSON.stringify({ etag: '"v0"' }));
    await download(await serve(honest));
    expect(seen[0]?.ifRange).toBe('"v0"');
    expect(await readFile(partPath())).toEqual(content);
  });

  test.each([
    ["no record of its version", undefined],
    ["a record that cannot be read", "{"],
    ["a record without a version", '{"etag":7}'],
  ])("a part with %s is started anew", async (_name, record) => {
    await writeFile(partPath(), "old bytes");
    if (record !== undefined) await writeFile(`${partPath()}.json`, record);
    await download(await serve(honest));
    expect(seen[0]?.range).toBeUndefined();
    expect(await readFile(partPath())).toEqual(content);
  });

  test("a weak validator is not used to go on", async () => {
    const url = await serve((request, response, call) => {
      if (call > 1) return honest(request, response, call);
      response.writeHead(200, { etag: 'W/"v1"', "content-length": content.length });
      response.write(content.subarray(0, 100_000));
      cut = () => response.destroy();
    });
    await download(url);
    expect(seen[1]?.range).toBeUndefined();
    expect(await readFile(partPath())).toEqual(content);
  });

  test("404 is not tried again", async () => {
    const url = await serve((_request, response) => response.writeHead(404).end("no"));
    await expect(download(url)).rejects.toThrow("the server answered 404");
    expect(seen).toHaveLength(1);
  });

  test("503 is tried again, as often as is allowed", async () => {
    const url = await serve((_request, response) => response.writeHead(503).end());
    await expect(download(url, { attempts: 3 })).rejects.toThrow("the server answered 503");
    expect(seen).toHaveLength(3);
  });

  test("a file of another length is refused before its content is read", async () => {
    const url = await serve((_request, response) => response.end("a sign-in page"));
    await expect(download(url)).rejects.toThrow("offers a file of 14 bytes, and this one has 300000");
    expect(existsSync(partPath())).toBe(false);
  });

  test("a server that sends more than the file's length is refused", async () => {
    const url = await serve((_request, response) => {
      response.writeHead(200, { etag });
      response.end(Buffer.concat([content, Buffer.from("more")]));
    });
    await expect(download(url)).rejects.toThrow("more than 300000 bytes");
    expect(seen).toHaveLength(1);
  });

  test.each([
    ["another range", `bytes 5-299999/300000`, "another range"],
    ["a range of a file of another length", "bytes 9-299998/299999", "offers a file of 299999 bytes"],
    ["no range", "", "another range"],
  ])("a 206 answer with %s is refused", async (_name, contentRange, reason) => {
    await writeFile(partPath(), content.subarray(0, 9));
    await writeFile(`${partPath()}.json`, JSON.stringify({ etag }));
    const url = await serve((_request, response) => {
      response
        .writeHead(206, { etag, ...(contentRange !== "" && { "content-range": contentRange }) })
        .end("x");
    });
    await expect(download(url)).rejects.toThrow(reason);
  });

  test("a server that accepts the connection and says nothing is given up after the stall time", async () => {
    const url = await serve(() => undefined);
    await expect(download(url, { stallTimeoutMs: 50 })).rejects.toThrow(/timeout/i);
    expect(seen).toHaveLength(1);
  });

  test("a server that falls silent in the middle is asked again for the rest", async () => {
    const url = await serve((request, response, call) => {
      if (call > 1) return honest(request, response, call);
      response.writeHead(200, { etag, "content-length": content.length });
      response.write(content.subarray(0, 100_000));
    });
    await download(url, { stallTimeoutMs: 200 });
    expect(seen[1]?.range).toBeDefined();
    expect(await readFile(partPath())).toEqual(content);
  });

  test("a host that cannot be reached is not tried again", async () => {
    const url = await serve(honest);
    await stopServer();
    stopServer = async () => undefined;
    await expect(download(url)).rejects.toThrow("ECONNREFUSED");
  });

  test("an abort ends the download with the signal's reason and keeps the part", async () => {
    const controller = new AbortController();
    const url = await serve((_request, response) => {
      response.writeHead(200, { etag, "content-length": content.length });
      response.write(content.subarray(0, 100_000));
    });
    const reason = new Error("the user pressed Ctrl-C");
    await expect(
      download(url, { signal: controller.signal, onProgress: () => controller.abort(reason) }),
    ).rejects.toBe(reason);
    expect(existsSync(`${partPath()}.json`)).toBe(true);
  });

  test.runIf(existsSync("/dev/full"))("a full disk ends the download at once", async () => {
    await symlink("/dev/full", partPath());
    const url = await serve((_request, response) => {
      response.writeHead(206, { etag, "content-range": `bytes 0-${content.length - 1}/${content.length}` });
      response.end(content);
    });
    await expect(download(url)).rejects.toMatchObject({ code: "ENOSPC" });
    expect(seen).toHaveLength(1);
  });
});
