import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import {
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { peer } from "@ectus/peers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { until } from "../../../tests/postgres/until.ts";
import { type FaultyProxy, startFaultyProxy } from "../../../tests/storage/faulty-proxy.ts";
import { type S3Server, startS3 } from "../../../tests/storage/start-s3.ts";
import {
  blob,
  chunks,
  describeStorage,
  generous,
  listed,
  sha256,
  tenant,
} from "../../../tests/storage/storage-contract.ts";
import { type BlobStorage, openStorage } from "./index.ts";
import { defaultTimeouts } from "./s3-connection.ts";
import { createS3Storage } from "./s3-storage.ts";

const gateway = await peer("versitygw");
const mebibyte = 1024 * 1024;

describe.skipIf(gateway === undefined)("with an S3 server,", () => {
  let server: S3Server;
  let proxy: FaultyProxy;
  let storage: BlobStorage;
  let client: S3Client;
  let prefix: string;

  beforeAll(async () => {
    server = await startS3(gateway?.files.versitygw ?? "");
    proxy = await startFaultyProxy(server.endpoint);
    client = clientOf(server);
  });
  afterAll(async () => {
    client.destroy();
    await proxy.close();
    await server.stop();
  });
  // Each test has a prefix of its own, and so an empty storage.
  beforeEach(async () => {
    prefix = `of-${randomUUID()}`;
    storage = await openStorage(server.url({ prefix }), server.environment);
  });
  afterEach(() => proxy.heal());

  const throughProxy = (timeouts = defaultTimeouts): Promise<BlobStorage> =>
    createS3Storage(new URL(server.url({ prefix, endpoint: proxy.endpoint })), server.environment, timeouts);

  /** What the server has below the prefix: objects, and uploads that are open. */
  async function everything(): Promise<readonly string[]> {
    const below = { Bucket: server.bucket, Prefix: `${prefix}/` };
    const [objects, uploads] = await Promise.all([
      client.send(new ListObjectsV2Command(below)),
      client.send(new ListMultipartUploadsCommand(below)),
    ]);
    const names = [
      ...(objects.Contents ?? []).map(({ Key }) => `${Key}`),
      ...(uploads.Uploads ?? []).map(({ Key, UploadId }) => `${Key}?${UploadId}`),
    ];
    return names.map((name) => name.slice(prefix.length + 1)).sort();
  }

  describeStorage({ storage: () => storage, everything });

  describe("a large blob", () => {
    test("of 20 MiB goes in parts whose digests the server keeps, and comes back whole and in part", async () => {
      const bytes = randomBytes(20 * mebibyte + 3);
      const source = Readable.from(
        (function* () {
          for (let at = 0; at < bytes.length; at += 99_991) yield bytes.subarray(at, at + 99_991);
        })(),
      );
      const digest = await storage.write(tenant, blob, source, { maxBytes: bytes.length });
      expect(digest).toEqual({ bytes: bytes.length, sha256: sha256(bytes) });
      const stored = await client.send(
        new HeadObjectCommand({
          Bucket: server.bucket,
          Key: `${prefix}/${tenant}/${blob}`,
          ChecksumMode: "ENABLED",
        }),
      );
      expect(stored.ETag).toMatch(/-5"$/);
      expect(stored.ChecksumSHA256).toMatch(/=-5$/);
      expect(sha256(await buffer(await storage.read(tenant, blob)))).toBe(digest.sha256);
      const part = await buffer(
        await storage.read(tenant, blob, { start: 5 * mebibyte - 2, end: 5 * mebibyte + 1 }),
      );
      expect(part).toEqual(bytes.subarray(5 * mebibyte - 2, 5 * mebibyte + 2));
      expect(await everything()).toEqual([`${tenant}/${blob}`]);
    });

    test("keeps what a source yielded, though it uses its memory again", async () => {
      const memory = Buffer.alloc(300_000);
      const expected: Buffer[] = [];
      const { bytes, sha256: found } = await storage.write(
        tenant,
        blob,
        (async function* () {
          for (let i = 0; i < 40; i++) {
            memory.fill(i);
            expected.push(Buffer.from(memory));
            yield memory;
          }
        })(),
        generous,
      );
      const whole = Buffer.concat(expected);
      expect({ bytes, found }).toEqual({ bytes: whole.length, found: sha256(whole) });
      expect(sha256(await buffer(await storage.read(tenant, blob)))).toBe(found);
    });

    test.each([1e10, Number.MAX_SAFE_INTEGER])(
      "is not read ahead further than 18 MiB while the server is slow (limit %d)",
      async (maxBytes) => {
        const slow = await throughProxy();
        proxy.holdRequests();
        let given = 0;
        const controller = new AbortController();
        const writing = slow.write(
          tenant,
          blob,
          (async function* () {
            while (true) {
              given += mebibyte;
              yield Buffer.alloc(mebibyte);
            }
          })(),
          { maxBytes, signal: controller.signal },
        );
        writing.catch(() => {});
        // The first request is held, so that no part is on its way yet.
        let before = -1;
        await until(
          () => {
            const isStill = before === given && given > 5 * mebibyte;
            before = given;
            return isStill;
          },
          10_000,
          100,
        );
        expect(given).toBeLessThanOrEqual(18 * mebibyte);
        controller.abort(new Error("enough"));
        proxy.heal();
        await expect(writing).rejects.toThrow("enough");
      },
    );
  });

  describe("a large write that fails leaves what was there, no open upload, and", () => {
    beforeEach(() => storage.write(tenant, blob, chunks("before"), generous));
    afterEach(async () => {
      expect(await everything()).toEqual([`${tenant}/${blob}`]);
      expect((await buffer(await storage.read(tenant, blob))).toString()).toBe("before");
    });

    /** 12 MiB, so that two parts are on their way, and then what `end` does. */
    async function* begun(end: () => Promise<void>, mebibytes = 12): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < mebibytes; i++) yield Buffer.alloc(mebibyte, i);
      await end();
    }

    test("throws the source's own error", async () => {
      const failure = new Error("the client went away");
      const writing = storage.write(
        tenant,
        blob,
        begun(() => Promise.reject(failure)),
        generous,
      );
      await expect(writing).rejects.toBe(failure);
    });

    test("ends when it is aborted though the source is silent", async () => {
      const controller = new AbortController();
      const silent = Promise.withResolvers<void>();
      const reason = new Error("enough");
      const source = begun(() => {
        controller.abort(reason);
        return silent.promise;
      });
      const writing = storage.write(tenant, blob, source, { ...generous, signal: controller.signal });
      await expect(writing).rejects.toBe(reason);
      silent.resolve();
    });

    test("ends when it is aborted though the server is silent, whose parts are then cut off", async () => {
      const controller = new AbortController();
      const slow = await throughProxy();
      const reason = new Error("enough");
      const before = proxy.requests.length;
      const source = begun(async () => {
        await until(() => proxy.requests.slice(before).some((line) => line.includes("partNumber=1")));
        proxy.holdRequests();
      });
      const held = (async function* () {
        yield* source;
        // Little enough to be taken although no part arrives any more.
        yield* begun(async () => controller.abort(reason), 2);
      })();
      const writing = slow.write(tenant, blob, held, { ...generous, signal: controller.signal });
      writing.catch(() => {});
      await once(controller.signal, "abort");
      const beforeHealing = proxy.requests.length;
      proxy.heal();
      await expect(writing).rejects.toBe(reason);
      const after = proxy.requests.slice(beforeHealing);
      expect(after.filter((line) => line.includes("partNumber"))).toEqual([]);
    });

    test("ends soon when it is aborted while its parts wait for a server that is silent", async () => {
      const controller = new AbortController();
      const slow = await throughProxy({ ...defaultTimeouts, answerMs: 300, lastPartsMs: 200 });
      const before = proxy.requests.length;
      let given = 0;
      const source = Readable.from(
        (async function* () {
          while (true) {
            yield Buffer.alloc(mebibyte);
            given += 1;
            if (given === 7) await until(() => proxy.requests.length > before);
            if (given === 8) proxy.holdRequests();
          }
        })(),
      );
      const writing = slow.write(tenant, blob, source, { ...generous, signal: controller.signal });
      writing.catch(() => {});
      // Until two parts are on their way, and no more are gathered.
      let last = 0;
      await until(
        () => {
          const isStill = given > 8 && given === last;
          last = given;
          return isStill;
        },
        10_000,
        100,
      );
      const reason = new Error("enough");
      controller.abort(reason);
      const ended = await Promise.race([writing.catch((error) => error), delay(5_000, "it waits still")]);
      proxy.heal();
      expect(ended).toBe(reason);
      expect(source.destroyed).toBe(true);
      await storage.removeUnfinished(new Date(Date.now() + 60_000));
    });

    test.each([11, 12, 13, 14, 15, 16, 17, 18])(
      "is refused at its limit of %d MiB, and stops the source",
      async (mebibytes) => {
        const source = Readable.from(
          (function* () {
            while (true) yield Buffer.alloc(mebibyte);
          })(),
        );
        const writing = storage.write(tenant, blob, source, { maxBytes: mebibytes * mebibyte });
        await expect(writing).rejects.toMatchObject({ code: "request_too_large" });
        expect(source.destroyed).toBe(true);
      },
    );

    test.each([
      ["a small blob", 1],
      ["a part of a large one", 9],
    ])("is refused by the server if %s was damaged on its way", async (_what, mebibytes) => {
      const damaging = await throughProxy();
      proxy.damage("ORIGINAL");
      const source = Readable.from([Buffer.alloc(mebibytes * mebibyte, "ORIGINAL")]);
      const failure = { code: "storage_error", message: expect.stringContaining("damaged on its way") };
      await expect(damaging.write(tenant, blob, source, generous)).rejects.toMatchObject(failure);
      expect(source.destroyed).toBe(true);
    });
  });

  describe("a read", () => {
    const bytes = randomBytes(2 * mebibyte);
    beforeEach(() => storage.write(tenant, blob, chunks(bytes), generous));

    test("whose connection is cut is an error and not the end", async () => {
      const faulty = await throughProxy();
      proxy.endAnswersAfter(mebibyte, "cut");
      const stream = await faulty.read(tenant, blob);
      const failure = { code: "storage_error", message: expect.stringContaining("broke off") };
      await expect(buffer(stream)).rejects.toMatchObject(failure);
      proxy.heal();
      expect(sha256(await buffer(await faulty.read(tenant, blob)))).toBe(sha256(bytes));
    });

    test("whose connection is cut while its reader pauses is an error too", async () => {
      const faulty = await throughProxy();
      proxy.endAnswersAfter(mebibyte, "silent");
      const stream = await faulty.read(tenant, blob);
      await once(stream, "data");
      stream.pause();
      proxy.heal();
      await expect(buffer(stream)).rejects.toMatchObject({ code: "storage_error" });
    });

    test("that falls silent is an error after a time in which its reader waited", async () => {
      const faulty = await throughProxy({ ...defaultTimeouts, idleMs: 100 });
      proxy.endAnswersAfter(mebibyte, "silent");
      await expect(buffer(await faulty.read(tenant, blob))).rejects.toThrow("nothing arrived for 100 ms");
    });

    test("whose reader pauses goes on later", async () => {
      const patient = await throughProxy({ ...defaultTimeouts, idleMs: 50 });
      const stream = await patient.read(tenant, blob);
      const [first] = (await once(stream, "data")) as [Buffer];
      stream.pause();
      await delay(200);
      expect(Buffer.concat([first, await buffer(stream)]).equals(bytes)).toBe(true);
    });

    test("whose reader leaves gives its connection up", async () => {
      const faulty = await throughProxy();
      proxy.endAnswersAfter(mebibyte, "silent");
      const stream = await faulty.read(tenant, blob);
      stream.destroy();
      await once(stream, "close");
      expect(stream.errored).toBeNull();
    });
  });

  test("a server that does not answer is given up in time", async () => {
    const faulty = await throughProxy({ ...defaultTimeouts, answerMs: 150, partMs: 150 });
    proxy.holdRequests();
    const failure = { code: "storage_error", message: expect.stringContaining("cannot be reached") };
    await expect(faulty.stat(tenant, blob)).rejects.toMatchObject(failure);
    await expect(faulty.write(tenant, blob, chunks("x"), generous)).rejects.toMatchObject(failure);
  });

  test.each([150, 400])(
    "a server that falls silent after %d bytes of an answer is given up in time",
    async (bytes) => {
      await storage.write(tenant, blob, chunks("x"), generous);
      const faulty = await throughProxy({ ...defaultTimeouts, answerMs: 150, partMs: 150 });
      proxy.endAnswersAfter(bytes, "silent");
      const failure = { code: "storage_error", message: expect.stringContaining("cannot be reached") };
      await expect(listed(faulty)).rejects.toMatchObject(failure);
      await expect(faulty.removeUnfinished(new Date())).rejects.toMatchObject(failure);
      const large = chunks(Buffer.alloc(6 * mebibyte));
      await expect(faulty.write(tenant, randomUUID(), large, generous)).rejects.toMatchObject(failure);
    },
  );

  test("a server that is killed and started again goes on with what it had, and what was open is removed", async () => {
    await storage.write(tenant, blob, chunks("kept"), generous);
    const source = Readable.from(
      (async function* () {
        for (let i = 0; i < 12; i++) yield Buffer.alloc(mebibyte, i);
        await until(async () => (await everything()).length === 2);
        await server.kill();
        yield Buffer.alloc(mebibyte);
      })(),
    );
    const failure = { code: "storage_error", message: expect.stringContaining("cannot be reached") };
    await expect(storage.write(tenant, randomUUID(), source, generous)).rejects.toMatchObject(failure);
    expect(source.destroyed).toBe(true);
    await expect(storage.stat(tenant, blob)).rejects.toMatchObject(failure);
    await expect(openStorage(server.url(), server.environment)).rejects.toMatchObject(failure);
    await server.start();
    expect((await buffer(await storage.read(tenant, blob))).toString()).toBe("kept");
    await storage.write(tenant, blob, chunks("again"), generous);
    expect(await storage.removeUnfinished(new Date(Date.now() + 60_000))).toBe(1);
    expect(await everything()).toEqual([`${tenant}/${blob}`]);
  });

  describe("uploads that never ended", () => {
    async function beginUpload(
      key: string,
    ): Promise<{ readonly Bucket: string; Key: string; UploadId: string }> {
      const target = { Bucket: server.bucket, Key: key };
      const { UploadId = "" } = await client.send(new CreateMultipartUploadCommand(target));
      return { ...target, UploadId };
    }
    async function addPart(upload: Awaited<ReturnType<typeof beginUpload>>): Promise<typeof upload> {
      await client.send(new UploadPartCommand({ ...upload, PartNumber: 1, Body: "part" }));
      return upload;
    }

    test("are removed if they are old, and if they are blobs' of this storage", async () => {
      await addPart(await beginUpload(`${prefix}/${tenant}/${blob}`));
      await beginUpload(`${prefix}/${tenant}/${randomUUID()}`);
      const others = [`${prefix}/notes`, `${prefix}/${tenant}/${blob}/x`, `${prefix}x/${tenant}/${blob}`];
      for (const key of others) await beginUpload(key);
      expect(await storage.removeUnfinished(new Date(Date.now() - 60_000))).toBe(0);
      expect(await listed(storage)).toEqual([]);
      expect(await storage.removeUnfinished(new Date(Date.now() + 60_000))).toBe(2);
      expect(await storage.removeUnfinished(new Date(Date.now() + 60_000))).toBe(0);
      expect(await everything()).toHaveLength(2);
    });

    test("are left while parts of them arrive", async () => {
      const { UploadId } = await addPart(await beginUpload(`${prefix}/${tenant}/${blob}`));
      const uploads = join(server.folder, ".sgwtmp", "multipart");
      const names = await readdir(uploads, { recursive: true });
      const folder = join(uploads, names.find((name) => basename(name) === UploadId) ?? "");
      const hourAgo = new Date(Date.now() - 3_600_000);
      const minuteAgo = new Date(Date.now() - 60_000);
      // The time of the folder is when the upload began, the times of the files in it are those of its parts.
      await utimes(folder, hourAgo, hourAgo);
      expect(await storage.removeUnfinished(minuteAgo)).toBe(0);
      for (const name of await readdir(folder)) await utimes(join(folder, name), hourAgo, hourAgo);
      expect(await storage.removeUnfinished(minuteAgo)).toBe(1);
    });
  });

  test("a list of 2,345 blobs takes three requests", async () => {
    const ids = Array.from({ length: 2_345 }, () => randomUUID()).sort();
    const folder = join(server.folder, prefix, tenant);
    await mkdir(folder, { recursive: true });
    for (const id of ids) await writeFile(join(folder, id), "");
    await writeFile(join(folder, "notes"), "");
    const counted = await throughProxy();
    const before = proxy.requests.length;
    expect(await listed(counted)).toEqual(ids);
    expect(proxy.requests.length - before).toBe(3);
  });

  test("a storage sees nothing of one whose prefix begins like its own", async () => {
    const other = await openStorage(server.url({ prefix: `${prefix}x` }), server.environment);
    const outer = await openStorage(server.url(), server.environment);
    await other.write(tenant, blob, chunks("other"), generous);
    expect(await listed(storage)).toEqual([]);
    expect(await listed(outer)).toEqual([]);
    expect(await listed(other)).toEqual([blob]);
    await outer.write(tenant, blob, chunks("outer"), generous);
    expect((await buffer(await other.read(tenant, blob))).toString()).toBe("other");
    await outer.remove(tenant, blob);
  });
});

function clientOf({ endpoint, environment }: S3Server): S3Client {
  return new S3Client({
    endpoint,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: {
      accessKeyId: environment.AWS_ACCESS_KEY_ID,
      secretAccessKey: environment.AWS_SECRET_ACCESS_KEY,
    },
  });
}
