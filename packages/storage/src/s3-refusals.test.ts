// What a server refuses, how that is told, and what a program is left with.
import { execFile } from "node:child_process";
import { mkdtemp, rename, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { promisify } from "node:util";
import { EctusError } from "@ectus/core";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { findFreePort } from "../../../tests/free-port.ts";
import { inTrace } from "../../../tests/monitoring/in-trace.ts";
import { recordTraces } from "../../../tests/monitoring/recorded-traces.ts";
import { mountSmallDisk } from "../../../tests/storage/small-disk.ts";
import { type S3Server, startS3 } from "../../../tests/storage/start-s3.ts";
import { blob, chunks, generous, listed, tenant } from "../../../tests/storage/storage-contract.ts";
import { type BlobStorage, openStorage } from "./index.ts";

const gateway = await peer("versitygw");
const mebibyte = 1024 * 1024;

describe.skipIf(gateway === undefined)("with an S3 server,", () => {
  let server: S3Server;
  let storage: BlobStorage;

  beforeAll(async () => {
    server = await startS3(gateway?.files.versitygw ?? "");
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    storage = await openStorage(server.url(), server.environment);
  });

  describe("opening says what is wrong", () => {
    const refusal = async (url: string, environment: NodeJS.ProcessEnv): Promise<EctusError> => {
      const opening = openStorage(url, environment).then(
        () => undefined,
        (error: unknown) => error,
      );
      const error = await opening;
      expect(error).toBeInstanceOf(EctusError);
      expect(error).toMatchObject({ code: "storage_error" });
      const told = JSON.stringify([error, String((error as Error).message), String((error as Error).cause)]);
      expect(told).not.toContain(server.environment.AWS_SECRET_ACCESS_KEY);
      return error as EctusError;
    };

    test("with an access key that is not known", async () => {
      const unknown = { ...server.environment, AWS_ACCESS_KEY_ID: "nobody" };
      expect((await refusal(server.url(), unknown)).message).toContain("check AWS_ACCESS_KEY_ID");
    });

    test("with a wrong secret key, which it does not show", async () => {
      const wrong = { ...server.environment, AWS_SECRET_ACCESS_KEY: "wrong-secret" };
      const error = await refusal(server.url(), wrong);
      expect(error.message).toContain("check AWS_SECRET_ACCESS_KEY");
      expect(JSON.stringify([error, error.message, `${error.cause}`])).not.toContain("wrong-secret");
    });

    test("without credentials anywhere", async () => {
      vi.stubEnv("AWS_EC2_METADATA_DISABLED", "true");
      vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
      vi.stubEnv("AWS_CONFIG_FILE", "/dev/null");
      expect((await refusal(server.url(), {})).message).toContain("no credentials were found");
      vi.unstubAllEnvs();
    });

    test("with a bucket that is not there", async () => {
      const url = server.url().replace(server.bucket, "another-bucket");
      expect((await refusal(url, server.environment)).message).toContain(
        "the bucket another-bucket does not exist; create it, or name another in STORAGE_URL",
      );
    });

    test("with an endpoint where nothing listens", async () => {
      const endpoint = `http://127.0.0.1:${await findFreePort()}`;
      const error = await refusal(server.url({ endpoint }), server.environment);
      expect(error.message).toContain(`${endpoint} cannot be reached`);
      expect(error.message).toContain("check endpoint and path_style");
    });
  });

  test("each operation is a span of the kind s3, and a fault has the trace kept", async () => {
    const traces = recordTraces(0);
    await inTrace(traces, () => storage.write(tenant, blob, chunks("some text"), generous));
    expect(await traces.spans()).toEqual([]);
    await inTrace(traces, () => storage.write(tenant, "no id", chunks("x"), generous).catch(() => {}));
    const span = (await traces.spans()).find(({ name }) => name === "storage write");
    expect(span?.attributes).toMatchObject({ "ectus.storage.kind": "s3", "error.type": "storage_error" });
  });

  test("a bucket that has gone is a fault, and not a blob that is missing", async () => {
    await rename(server.folder, `${server.folder}-away`);
    try {
      const failure = {
        code: "storage_error",
        message: expect.stringContaining("does not exist; create it"),
      };
      await expect(storage.stat(tenant, blob)).rejects.toMatchObject(failure);
      await expect(storage.read(tenant, blob)).rejects.toMatchObject(failure);
      await expect(listed(storage)).rejects.toMatchObject(failure);
      await expect(storage.write(tenant, blob, chunks("x"), generous)).rejects.toMatchObject(failure);
      await expect(storage.removeUnfinished(new Date())).rejects.toMatchObject(failure);
    } finally {
      await rename(`${server.folder}-away`, server.folder);
    }
  });

  test("a full disk is reported as storage_full, nothing is left of the blob, and what was there stays", async (context) => {
    const folder = await mkdtemp(join(tmpdir(), "ectus-s3-full-"));
    const unmount = mountSmallDisk(folder);
    if (unmount === undefined) {
      await rmdir(folder);
      return context.skip("NOT TESTED: a full disk. It takes the right to mount a tmpfs; run as root.");
    }
    const small = await startS3(gateway?.files.versitygw ?? "", folder);
    try {
      const full = await openStorage(small.url(), small.environment);
      await full.write(tenant, blob, chunks("small"), generous);
      for (const mebibytes of [2, 6]) {
        const source = Readable.from([Buffer.alloc(mebibytes * mebibyte)]);
        const writing = full.write(tenant, blob, source, generous);
        await expect(writing).rejects.toMatchObject({ code: "storage_full" });
        expect(source.destroyed).toBe(true);
        expect(await listed(full)).toEqual([blob]);
        expect(await full.removeUnfinished(new Date(Date.now() + 60_000))).toBe(0);
      }
      expect((await buffer(await full.read(tenant, blob))).toString()).toBe("small");
    } finally {
      await small.stop();
      unmount();
      await rmdir(folder);
    }
  });

  test("a program that has used it ends by itself", async () => {
    const program = `
      import { openStorage } from ${JSON.stringify(new URL("./index.ts", import.meta.url).href)};
      const storage = await openStorage(${JSON.stringify(server.url())});
      const ids = [${JSON.stringify(tenant)}, ${JSON.stringify(blob)}];
      await storage.write(...ids, (async function* () {
        yield Buffer.alloc(6 * 1024 * 1024);
      })(), { maxBytes: 1e9 });
      let bytes = 0;
      for await (const chunk of await storage.read(...ids)) bytes += chunk.length;
      console.log(bytes);`;
    const begun = performance.now();
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], {
      env: { ...process.env, ...server.environment },
      timeout: 20_000,
    });
    expect(stdout.trim()).toBe(String(6 * mebibyte));
    expect(performance.now() - begun).toBeLessThan(10_000);
  });
});
