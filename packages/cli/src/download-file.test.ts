// Downloads from a server that fails in ways which the real API does not show on demand: cut at every tenth, changed
// meanwhile, away for a while. What the real API answers is in commands/export.test.ts.
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openApi } from "./api-client.ts";
import { type DownloadPauses, downloadFile, partOf } from "./download-file.ts";

const content = randomBytes(1_000_000);
let folder: string;
let path: string;
let cleanUp: AsyncDisposableStack;
beforeEach(async () => {
  cuts = [];
  cleanUp = new AsyncDisposableStack();
  folder = await mkdtemp(join(tmpdir(), "ectus-download-"));
  cleanUp.defer(() => rm(folder, { recursive: true }));
  path = join(folder, "bag.tar");
});
afterEach(() => cleanUp.disposeAsync());

interface Served {
  readonly url: string;
  /** The Range of each request; empty without. */
  readonly ranges: string[];
}

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

async function serve(handler: Handler): Promise<Served> {
  const ranges: string[] = [];
  const server = createServer((request, response) => {
    ranges.push(request.headers.range ?? "");
    handler(request, response, ranges.length);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  cleanUp.defer(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ranges };
}

/** Connections that break once the client has seen so much. */
let cuts: { readonly at: number; readonly cut: () => void }[] = [];

/** Answers as a server with strong ETags does, but with at most `most` bytes before the connection breaks. */
function send(
  request: IncomingMessage,
  response: ServerResponse,
  { most = Number.POSITIVE_INFINITY, body = content, etag = '"one"' } = {},
): void {
  const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const goesOn = asked !== null && request.headers["if-range"] === etag;
  const start = goesOn ? Number(asked[1]) : 0;
  response.writeHead(goesOn ? 206 : 200, {
    etag,
    "content-length": body.length - start,
    ...(goesOn ? { "content-range": `bytes ${start}-${body.length - 1}/${body.length}` } : {}),
  });
  if (start + most >= body.length) response.end(body.subarray(start));
  else {
    response.write(body.subarray(start, start + most));
    cuts.push({ at: start + most, cut: () => response.destroy() });
  }
}

const pauses: DownloadPauses = { firstMs: 1, longestMs: 5, mostTries: 4, idleMs: 5_000 };

function download(
  url: string,
  options: { pauses?: DownloadPauses; signal?: AbortSignal; source?: string } = {},
) {
  const notes: string[] = [];
  const seen: number[] = [];
  const api = openApi({ url, key: "sk-test" });
  const done = downloadFile({
    path,
    source: options.source ?? "a test's export",
    request: (headers, signal) => api.stream("/download", { headers, signal }),
    signal: options.signal ?? new AbortController().signal,
    onProgress({ bytes }) {
      seen.push(bytes);
      if (cuts[0] !== undefined && bytes >= cuts[0].at) cuts.shift()?.cut();
    },
    onNote: (text) => void notes.push(text),
    pauses: options.pauses ?? pauses,
  });
  return { done, notes, seen };
}

const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function expectWhole(body: Buffer = content): Promise<void> {
  expect(digest(await readFile(path))).toBe(digest(body));
  expect(await readdir(folder)).toEqual(["bag.tar"]);
}

/** How many bytes of a download that was given up are there. */
const partBytes = async (): Promise<number> => (await stat(partOf(path))).size;

test("a download is under its name only when all of it is there, and only its owner can read it", async () => {
  const { url, ranges } = await serve((request, response) => send(request, response));
  const { done, seen, notes } = download(url);
  expect(await done).toEqual({ bytes: content.length, resumedFrom: 0 });
  await expectWhole();
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(seen.at(-1)).toBe(content.length);
  expect(notes).toEqual([]);
  expect(ranges).toEqual([""]);
});

test("a connection that breaks at every tenth is taken up by itself, and nothing comes twice", async () => {
  const tenth = content.length / 10;
  const { url, ranges } = await serve((request, response) => send(request, response, { most: tenth }));
  const { done, notes } = download(url);
  await done;
  await expectWhole();
  expect(ranges).toEqual(["", ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((done) => `bytes=${done * tenth}-`)]);
  expect(notes[0]).toMatch(/^The connection broke: .* Going on from 0\.1 MB in a moment\.$/);
});

test.each([1, 2, 3, 4, 5, 6, 7, 8, 9])(
  "a download that was given up at %i tenths goes on there the next time",
  async (tenths) => {
    const cutAt = (content.length / 10) * tenths;
    const broken = await serve((request, response, count) =>
      count === 1 ? send(request, response, { most: cutAt }) : void response.destroy(),
    );
    await expect(download(broken.url).done).rejects.toThrow(
      `Given up for now; ${cutAt} bytes are here, and the same download goes on from them.`,
    );
    expect(await partBytes()).toBe(cutAt);
    await expect(stat(path)).rejects.toThrow();

    const well = await serve((request, response) => send(request, response));
    expect(await download(well.url).done).toEqual({ bytes: content.length, resumedFrom: cutAt });
    expect(well.ranges).toEqual([`bytes=${cutAt}-`]);
    await expectWhole();
  },
);

test("wherever connections break, the file is the same in the end", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 400_000 }), { maxLength: 6 }), async (lengths) => {
      const { url } = await serve((request, response, count) =>
        send(request, response, { most: lengths[count - 1] ?? Number.POSITIVE_INFINITY }),
      );
      await download(url).done;
      await expectWhole();
      await rm(path);
    }),
    { numRuns: 30 },
  );
});

test("what has changed on the server is downloaded anew, from its beginning", async () => {
  const other = randomBytes(700_000);
  const { url, ranges } = await serve((request, response, count) =>
    count === 1
      ? send(request, response, { most: 800_000 })
      : send(request, response, { body: other, etag: '"two"' }),
  );
  const { done, notes } = download(url);
  await done;
  expect(ranges[1]).toMatch(/^bytes=\d+-$/);
  expect(notes).toContain("It has changed on the server; starting over.");
  await expectWhole(other);
});

test("what changes all the time is given up", async () => {
  const { url } = await serve((request, response, count) =>
    send(request, response, { most: 100_000, etag: `"${count}"` }),
  );
  await expect(download(url).done).rejects.toThrow("It changes on the server all the time");
});

test("a server without a strong ETag cannot be gone on with, so it begins anew", async () => {
  const { url, ranges } = await serve((request, response, count) =>
    send(request, response, { etag: 'W/"weak"', ...(count === 1 ? { most: 500_000 } : {}) }),
  );
  await download(url).done;
  expect(ranges).toEqual(["", ""]);
  await expectWhole();
});

test("a server that is away for a while is asked again, and told of", async () => {
  const { url } = await serve((request, response, count) => {
    if (count <= 2)
      response
        .writeHead(503, { "content-type": "application/json" })
        .end(
          '{"error":{"message":"This server is stopping.","type":"server_error","param":null,"code":"shutting_down"}}',
        );
    else send(request, response);
  });
  const { done, notes } = download(url);
  await done;
  expect(notes[0]).toBe("This server is stopping. Going on from 0.0 MB in a moment.");
  await expectWhole();
});

test("a connection that brings nothing is given up and taken up again", async () => {
  const { url } = await serve((request, response, count) => {
    if (count > 1) return send(request, response);
    response.writeHead(200, { etag: '"one"', "content-length": content.length });
    response.write(content.subarray(0, 100_000));
  });
  const { done, notes } = download(url, { pauses: { ...pauses, idleMs: 200 } });
  await done;
  expect(notes).toEqual([
    "The connection broke: nothing came for 0.2 seconds. Going on from 0.1 MB in a moment.",
  ]);
  await expectWhole();
});

test("what is not there is said at once, in the API's words", async () => {
  const { url, ranges } = await serve((_request, response) => {
    response
      .writeHead(410, { "content-type": "application/json" })
      .end(
        '{"error":{"message":"It expired.","type":"invalid_request_error","param":null,"code":"export_expired"}}',
      );
  });
  await expect(download(url).done).rejects.toMatchObject({ message: "It expired.", code: "export_expired" });
  expect(ranges).toHaveLength(1);
});

test.each([
  [
    "an answer whose length nobody knows",
    (response: ServerResponse) => response.writeHead(200).write("x") && response.end(),
  ],
  [
    "a range that was not asked for",
    (response: ServerResponse) =>
      response.writeHead(206, { "content-range": "bytes 5-9/10", "content-length": 5 }).end("12345"),
  ],
  ["a page of a proxy", (response: ServerResponse) => response.writeHead(204).end()],
])("%s is refused", async (_what, answer) => {
  const { url } = await serve((_request, response) => void answer(response));
  await expect(download(url).done).rejects.toMatchObject({ code: "strange_answer" });
});

test("more bytes than there are to be are refused", async () => {
  const { url } = await serve((request, response, count) =>
    count === 1
      ? send(request, response, { most: 500_000 })
      : // The second part of another thing, under the same name.
        response
          .writeHead(206, {
            etag: '"one"',
            "content-range": `bytes ${request.headers.range?.slice(6)}999999/1000001`,
            "content-length": 10,
          })
          .end("0123456789"),
  );
  await expect(download(url).done).rejects.toMatchObject({ code: "strange_answer" });
});

test.each([
  ["another export's", { source: "another", etag: '"one"', bytes: content.length }],
  ["a longer one's", { source: "a test's export", etag: '"one"', bytes: 10 }],
  ["damaged", "{"],
])("a part that is %s is not gone on with", async (_what, note) => {
  await writeFile(partOf(path), randomBytes(5_000));
  await writeFile(`${partOf(path)}.json`, typeof note === "string" ? note : JSON.stringify(note));
  const { url, ranges } = await serve((request, response) => send(request, response));
  expect((await download(url).done).resumedFrom).toBe(0);
  expect(ranges).toEqual([""]);
  await expectWhole();
});

test("a part that is longer than the server has is downloaded anew", async () => {
  await writeFile(partOf(path), randomBytes(5_000));
  await writeFile(
    `${partOf(path)}.json`,
    JSON.stringify({ source: "a test's export", etag: '"one"', bytes: content.length }),
  );
  const { url } = await serve((request, response, count) => {
    if (count > 1) return send(request, response);
    response
      .writeHead(416, { "content-type": "application/json" })
      .end(
        '{"error":{"message":"The range begins after the end.","type":"invalid_request_error","param":null,"code":"range_not_satisfiable"}}',
      );
  });
  await download(url).done;
  await expectWhole();
});

test("a stop ends it at once, and leaves what is there for the next time", async () => {
  const stop = new AbortController();
  const { url } = await serve((_request, response) => {
    response.writeHead(200, { etag: '"one"', "content-length": content.length });
    response.write(content.subarray(0, 300_000));
  });
  const { done, seen } = download(url, { signal: stop.signal });
  const stopping = expect(done).rejects.toThrow("stopped by a test");
  await expect.poll(() => seen.at(-1)).toBe(300_000);
  stop.abort(new Error("stopped by a test"));
  await stopping;
  expect(await partBytes()).toBe(300_000);
  const well = await serve((request, response) => send(request, response));
  expect(await download(well.url).done).toMatchObject({ resumedFrom: 300_000 });
});

test.skipIf(process.platform !== "linux")("a full disk is said in plain words", async () => {
  // Linux's device that is always full.
  await symlink("/dev/full", partOf(path));
  const { url } = await serve((request, response) => send(request, response));
  await expect(download(url).done).rejects.toMatchObject({
    code: "file_not_written",
    message: `${partOf(path)} cannot be written: the disk is full. Make room, or name another place.`,
  });
});

test("a folder that is not there or not for this user is said in plain words", async () => {
  const { url } = await serve((request, response) => send(request, response));
  path = join(folder, "no", "bag.tar");
  await expect(download(url).done).rejects.toThrow(
    `${partOf(path)} cannot be written: there is no such folder. Make it, or name another place.`,
  );
  if (process.getuid?.() === 0) return;
  path = join(folder, "bag.tar");
  await chmod(folder, 0o500);
  await expect(download(url).done).rejects.toThrow("this user may not write there");
  await chmod(folder, 0o700);
});
