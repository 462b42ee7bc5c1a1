// Exports into a bucket: by the real worker, to an S3 server that goes away, refuses, or gets damaged parts.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSigningKey, openBag, verifyBag } from "@ectus/bag";
import { removeOrphans } from "@ectus/cli/maintenance-jobs";
import {
  type Database,
  deleteExport,
  type ExportRow,
  type ExportWorker,
  findExport,
  openDatabase,
  startExportWorker,
} from "@ectus/database";
import { peer } from "@ectus/peers";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bySystem } from "../postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { type RecordingLog, recordingLog } from "../postgres/recording-log.ts";
import { until } from "../postgres/until.ts";
import { type FaultyProxy, startFaultyProxy } from "../storage/faulty-proxy.ts";
import { type S3Server, startS3 } from "../storage/start-s3.ts";
import { type BagFiles, readBag, readRows, writeBag } from "./read-bag.ts";
import { askForExport, signingKey } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";
import { startWorkerProcess, type WorkerProcess } from "./start-worker.ts";

const gateway = await peer("versitygw");
const bagit = await peer("bagit");
const seed = randomBytes(32).toString("base64url");
const mebibyte = 1024 * 1024;
// More than two parts of an upload, so that what is done in the middle of one is in the middle of an object.
const messages = 4_000;
const messageBytes = 4_000;
const neverAborted = new AbortController().signal;
const inTwoHours = (): number => Date.now() + 7_200_000;

describe.skipIf(gateway === undefined)("an export into a bucket", () => {
  let server: S3Server;
  let proxy: FaultyProxy;
  let opened: OpenTestDatabase;
  let storage: BlobStorage;
  let folder: string;
  let tenant: SeededTenant;
  const closings: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    server = await startS3(gateway?.files.versitygw ?? "");
    proxy = await startFaultyProxy(server.endpoint);
    opened = await openTestDatabase();
    folder = await mkdtemp(join(tmpdir(), "ectus-export-s3-"));
    storage = await openStorage(server.url({ endpoint: proxy.endpoint }), server.environment);
    tenant = await seedTenant(opened.owner, storage, { completions: 20 });
    await addMessages(tenant.id, messages, messageBytes);
  });
  beforeEach(async () => {
    await opened.owner.query("delete from exports");
    for await (const blob of storage.list(tenant.id))
      if (!tenant.fileIds.includes(blob)) await storage.remove(tenant.id, blob);
    await storage.removeUnfinished(new Date(Date.now() + 60_000));
  });
  afterEach(async () => {
    proxy.heal();
    for (const close of closings.splice(0)) await close();
    await server.kill();
    await server.start();
  });
  afterAll(async () => {
    await opened.close();
    await proxy.close();
    await server.stop();
    await rm(folder, { recursive: true });
  });

  async function addMessages(tenantId: string, count: number, bytes: number): Promise<void> {
    await opened.owner.query(
      `insert into messages (tenant_id, completion_id, position, direction, role, body)
       select $1, id, 10 + n, 'input', 'user', jsonb_build_object('role', 'user', 'content', repeat(md5(n::text), $3::integer / 32))
       from (select id from completions where tenant_id = $1 limit 1) c, generate_series(1, $2::integer) n`,
      [tenantId, count, bytes],
    );
  }

  /** @param retryPauseMs before the second try; it doubles each time */
  async function startWorker(store = storage, retryPauseMs = 100): Promise<ExportWorker & RecordingLog> {
    const database: Database = openDatabase({ url: opened.appUrl, poolSize: 2, log: recordingLog().log });
    const recorded = recordingLog();
    const worker = await startExportWorker({
      database,
      storage: store,
      signingKey,
      software: "tests",
      log: recorded.log,
      concurrency: 1,
      bytesPerSecond: 0,
      ttlMs: 600_000,
      retryPauseMs,
      pollMs: 50,
    });
    closings.push(async () => {
      await worker.stop();
      await database.close();
    });
    return { ...worker, ...recorded };
  }

  const ask = (): Promise<ExportRow> => askForExport(opened.database, tenant.id, { compression: "none" });
  const stateOf = async ({ id }: ExportRow): Promise<ExportRow> =>
    (await findExport(opened.database, tenant.id, id)) as ExportRow;
  const reaches = (asked: ExportRow, state: ExportRow["state"]): Promise<void> =>
    until(async () => (await stateOf(asked)).state === state, 25_000, 20);

  /** The storage, in which `action` runs once, when 12 MiB of a blob have been taken. */
  function inTheMiddle(action: () => Promise<void> | void): BlobStorage {
    let done = false;
    async function* watched(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      let bytes = 0;
      for await (const chunk of source) {
        bytes += chunk.byteLength;
        if (bytes > 12 * mebibyte && !done) {
          done = true;
          await until(() => proxy.requests.some((line) => line.includes("partNumber=1&")));
          await action();
        }
        yield chunk;
      }
    }
    return {
      ...storage,
      write: (tenantId, blobId, source, options) => storage.write(tenantId, blobId, watched(source), options),
    };
  }

  async function expectWhole({ id }: ExportRow, key = signingKey): Promise<BagFiles> {
    const bag = join(folder, id);
    const files = await readBag(opened.database, storage, tenant.id, id);
    await writeBag(files, bag);
    await using source = await openBag(bag);
    const options = { keys: [key.publicKey], signal: neverAborted };
    const report = await verifyBag(source, options);
    expect(report.faults).toEqual([]);
    expect(report.signature.state).toBe("valid");
    expect(readRows(files, "data/tables/messages/")).toHaveLength(messages + 80);
    return files;
  }

  /** Objects and open uploads of the tenant besides its uploaded files and the bag of an export. */
  async function expectNothingElse(asked?: ExportRow): Promise<void> {
    const blobs =
      asked === undefined
        ? []
        : (
            await opened.owner.query("select blob_id from export_parts where export_id = $1", [asked.id])
          ).rows.map(({ blob_id }) => blob_id as string);
    expect((await Array.fromAsync(storage.list(tenant.id))).toSorted()).toEqual(
      [...tenant.fileIds, ...blobs].toSorted(),
    );
    expect(await storage.removeUnfinished(new Date(Date.now() + 60_000))).toBe(0);
  }

  const told = ({ lines }: RecordingLog, text: string): boolean =>
    lines.some((line) => JSON.stringify(line).includes(text));

  test("is whole, and the BagIt validator of the Library of Congress accepts it", async ({ skip }) => {
    await startWorker();
    const asked = await ask();
    await reaches(asked, "ready");
    const files = await expectWhole(asked);
    expect(Math.max(...[...files.values()].map(({ length }) => length))).toBeGreaterThan(15 * mebibyte);
    await expectNothingElse(asked);
    if (bagit === undefined) return skip("npm run peers bagit");
    execFileSync(
      "python3",
      ["-W", "ignore", "-m", "bagit", "--validate", "--quiet", join(folder, asked.id)],
      {
        env: { ...process.env, PYTHONPATH: bagit.folder },
        stdio: "pipe",
      },
    );
  });

  test("goes on after a pause when the server is killed in the middle of a part and started again", async () => {
    const worker = await startWorker(inTheMiddle(() => server.kill()));
    const asked = await ask();
    await until(() => told(worker, "export interrupted"), 20_000);
    expect(told(worker, "cannot be reached")).toBe(true);
    await server.start();
    await reaches(asked, "ready");
    expect((await stateOf(asked)).attempt).toBeGreaterThan(1);
    await expectWhole(asked);
    // An upload that could not be ended while the server was gone is left to the job.
    const { unfinished } = await removeOrphans(opened.database, storage, neverAborted, inTwoHours);
    expect(unfinished).toBeGreaterThan(0);
    await expectNothingElse(asked);
  });

  test.each([
    [
      "is made read-only",
      { readOnly: true },
      "this access to the bucket ectus-test is denied; allow s3:ListBucket",
    ],
    ["revokes the access key", { revoked: true }, "does not know the access key; check AWS_ACCESS_KEY_ID"],
  ])("says why it failed when the server %s in the middle of a part", async (_, change, reason) => {
    const worker = await startWorker(
      inTheMiddle(async () => {
        await server.kill();
        await server.start(change);
      }),
      1,
    );
    const asked = await ask();
    await reaches(asked, "failed");
    // The operator is told all in the log, and the tenant no more than that.
    expect(await stateOf(asked)).toMatchObject({
      error_code: "storage_error",
      error_message: expect.stringContaining("The storage failed"),
    });
    const failure = worker.lines.find(({ msg }) => msg === "export failed");
    expect(failure).toMatchObject({
      err: { code: "storage_error", message: expect.stringContaining(reason) },
    });
    for (const secret of Object.values(server.environment)) expect(told(worker, secret)).toBe(false);
  });

  test("never has what was damaged on its way to the server", async () => {
    proxy.damage(tenant.mark);
    const worker = await startWorker();
    const asked = await ask();
    await until(() => told(worker, "damaged on its way"), 20_000);
    proxy.heal();
    await reaches(asked, "ready");
    await expectWhole(asked);
  });

  test("leaves nothing behind when it is deleted in the middle of a part", async () => {
    let asked: ExportRow | undefined;
    const worker = await startWorker(
      inTheMiddle(async () => {
        const blobs = await deleteExport(opened.database, tenant.id, asked?.id ?? "", bySystem);
        for (const blob of blobs ?? []) await storage.remove(tenant.id, blob);
      }),
    );
    asked = await ask();
    await until(() => told(worker, "export deleted, or taken over"), 20_000);
    await expectNothingElse();
  });

  describe("by a worker of its own", () => {
    const start = async (storageUrl = server.url()): Promise<WorkerProcess> => {
      const worker = await startWorkerProcess({
        database: opened,
        storageUrl,
        signingKey: seed,
        bytesPerSecond: 0,
        environment: server.environment,
      });
      closings.push(() => worker.kill());
      return worker;
    };

    test("that is killed in the middle of a part is finished by another, and a job ends what it had begun", async () => {
      const worker = await start(server.url({ endpoint: proxy.endpoint }));
      const before = proxy.requests.length;
      const asked = await ask();
      await until(
        () => proxy.requests.slice(before).some((line) => line.includes("partNumber=2&")),
        20_000,
        1,
      );
      proxy.holdRequests();
      await worker.kill();
      proxy.heal();
      // Its lease would last for half a minute.
      await opened.owner.query("update exports set lease_until = now()");
      await start();
      await reaches(asked, "ready");
      await expectWhole(asked, createSigningKey(seed));
      const { unfinished } = await removeOrphans(opened.database, storage, neverAborted, inTwoHours);
      expect(unfinished).toBe(1);
      await expectNothingElse(asked);
    });

    test("of some 300 MB of rows takes little memory more than the worker had", async ({ skip }) => {
      if (process.platform !== "linux") return skip("only Linux tells the most that a process had");
      const large = await seedTenant(opened.owner, storage, { completions: 1 });
      await addMessages(large.id, 75_000, messageBytes);
      const worker = await start();
      const peakBytes = async (): Promise<number> => {
        const status = await readFile(`/proc/${worker.pid}/status`, "utf8");
        return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
      };
      const before = await peakBytes();
      const { id } = await askForExport(opened.database, large.id, { compression: "none" });
      const row = () => findExport(opened.database, large.id, id);
      await until(async () => (await row())?.state === "ready", 60_000, 50);
      expect((await row())?.bytes_done).toBeGreaterThan(300e6);
      const more = (await peakBytes()) - before;
      // Some 35 MB here; 140 MB where parts are left to the garbage collector.
      expect(more).toBeLessThan(80e6);
    }, 120_000);
  });
});
