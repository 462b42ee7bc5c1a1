// Answers of S3 servers that are not what they seem: errors with status 200, answers that are lost, the wrong bytes.
import { randomBytes, randomUUID } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { peer } from "@ectus/peers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type AnsweringProxy, startAnsweringProxy } from "../../../tests/storage/answering-proxy.ts";
import { type S3Server, startS3 } from "../../../tests/storage/start-s3.ts";
import { blob, chunks, generous, listed, sha256, tenant } from "../../../tests/storage/storage-contract.ts";
import type { BlobStorage } from "./index.ts";
import { defaultTimeouts } from "./s3-connection.ts";
import { createS3Storage } from "./s3-storage.ts";

const gateway = await peer("versitygw");
const mebibyte = 1024 * 1024;
const failed = { code: "storage_error" };

const errorBody = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>We encountered an internal error.</Message></Error>`;

describe.skipIf(gateway === undefined)("with an S3 server,", () => {
  let server: S3Server;
  let proxy: AnsweringProxy;
  let storage: BlobStorage;

  beforeAll(async () => {
    server = await startS3(gateway?.files.versitygw ?? "");
    proxy = await startAnsweringProxy(server.endpoint);
  });
  afterAll(async () => {
    await proxy.close();
    await server.stop();
  });
  beforeEach(async () => {
    storage = await open();
  });
  afterEach(() => proxy.heal());

  const open = (timeouts = defaultTimeouts): Promise<BlobStorage> => {
    const url = server.url({ prefix: `of-${randomUUID()}`, endpoint: proxy.endpoint });
    return createS3Storage(new URL(url), server.environment, timeouts);
  };
  const openUploads = (): Promise<number> => storage.removeUnfinished(new Date(Date.now() + 60_000));
  const count = (matching: RegExp): number => proxy.requests.filter((line) => matching.test(line)).length;

  describe("the end of an upload that is answered by 200 and an error", () => {
    const large = randomBytes(12 * mebibyte);
    const end = /^POST .*uploadId=/;

    test("is asked for again, and the blob is whole", async () => {
      proxy.answer(end, { status: 200, body: errorBody("InternalError") }, 2);
      const before = count(end);
      const written = await storage.write(tenant, blob, chunks(large), generous);
      expect(count(end) - before).toBe(3);
      expect(written.sha256).toBe(sha256(large));
      expect(sha256(await buffer(await storage.read(tenant, blob)))).toBe(written.sha256);
    });

    test("and is so again and again is a failure that leaves nothing", async () => {
      proxy.answer(end, { status: 200, body: errorBody("InternalError") });
      await expect(storage.write(tenant, blob, chunks(large), generous)).rejects.toMatchObject({
        ...failed,
        message: expect.stringContaining("InternalError"),
      });
      expect(await listed(storage)).toEqual([]);
      expect(await openUploads()).toBe(0);
    });

    test.each(["", "<html>welcome</html>"])("or by 200 and %j is no success", async (body) => {
      proxy.answer(end, { status: 200, body });
      await expect(storage.write(tenant, blob, chunks(large), generous)).rejects.toMatchObject(failed);
      expect(await listed(storage)).toEqual([]);
      expect(await openUploads()).toBe(0);
    });
  });

  test.each([1, 12])("a write of %d MiB is no success if any 200 comes back", async (mebibytes) => {
    proxy.answer(/^(PUT|POST) (?!.*uploads)/, { status: 200, body: "<html>welcome</html>" });
    const writing = storage.write(tenant, blob, chunks(randomBytes(mebibytes * mebibyte)), generous);
    await expect(writing).rejects.toMatchObject({ ...failed, message: expect.stringContaining("no ETag") });
  });

  test("parts whose answers are lost are sent again, and none is there twice or in another's place", async () => {
    const large = randomBytes(23 * mebibyte);
    for (const part of [1, 3, 5]) proxy.loseAnswer(new RegExp(`^PUT .*partNumber=${part}&`));
    const written = await storage.write(tenant, blob, chunks(large), generous);
    expect(written).toEqual({ bytes: large.length, sha256: sha256(large) });
    expect(sha256(await buffer(await storage.read(tenant, blob)))).toBe(written.sha256);
  });

  test("writes at once, after one that failed too, do not share memory of their parts", async () => {
    proxy.answer(/^PUT .*partNumber=2&/, { status: 400, body: errorBody("EntityTooSmall") }, 1);
    const write = async (): Promise<void> => {
      const bytes = randomBytes(17 * mebibyte + 1);
      const id = randomUUID();
      const written = await storage.write(tenant, id, chunks(bytes), generous).catch(() => undefined);
      if (written === undefined) return;
      expect(written.sha256).toBe(sha256(bytes));
      expect(sha256(await buffer(await storage.read(tenant, id)))).toBe(written.sha256);
    };
    for (let round = 0; round < 3; round += 1) await Promise.all([write(), write(), write()]);
    expect(await listed(storage)).toHaveLength(8);
  });

  test("a server that asks to wait for an hour is given up in time", async () => {
    const hasty = await open({ ...defaultTimeouts, answerMs: 500 });
    const headers = { "retry-after": "3600" };
    proxy.answer(/^DELETE /, { status: 503, headers, body: errorBody("SlowDown") });
    const begun = performance.now();
    await expect(hasty.remove(tenant, blob)).rejects.toMatchObject(failed);
    expect(performance.now() - begun).toBeLessThan(2_000);
  });

  describe("a read in part", () => {
    beforeEach(() => storage.write(tenant, blob, chunks("0123456789"), generous));

    test.each([
      ["the whole", { status: 200, headers: { "content-length": "10" }, body: "0123456789" }],
      [
        "another part",
        { status: 206, headers: { "content-length": "2", "content-range": "bytes 0-1/10" }, body: "01" },
      ],
      [
        "less",
        { status: 206, headers: { "content-length": "2", "content-range": "bytes 2-3/10" }, body: "23" },
      ],
    ])("that is answered with %s is refused", async (_, answer) => {
      proxy.answer(/^GET .*\/[0-9a-f-]{36}\?/, answer);
      const reading = storage.read(tenant, blob, { start: 2, end: 4 }).then(buffer);
      await expect(reading).rejects.toMatchObject(failed);
    });
  });

  test("a list that says that it is not whole, and not how it goes on, is an error and not the end", async () => {
    const body = `<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>`;
    proxy.answer(/^GET .*list-type=2/, { status: 200, body });
    await expect(listed(storage)).rejects.toMatchObject(failed);
  });
});
