// The worker: who takes up which export when, what becomes of one that is interrupted, and what it tells.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { EctusError } from "@ectus/core";
import {
  type Database,
  deleteExport,
  type ExportRow,
  type ExportWorker,
  findExport,
  openDatabase,
  startExportWorker,
} from "@ectus/database";
import { Registry } from "@ectus/metrics";
import { createInstruments } from "@ectus/monitoring";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { drawTree, inTrace } from "../monitoring/in-trace.ts";
import { recordTraces } from "../monitoring/recorded-traces.ts";
import { samplesOf } from "../postgres/measured.ts";
import { bySystem } from "../postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { until } from "../postgres/until.ts";
import { mountSmallDisk } from "../storage/small-disk.ts";
import { readBag, readRows } from "./read-bag.ts";
import { askForExport, signingKey } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

let opened: OpenTestDatabase;
let storage: BlobStorage;
let folder: string;
let tenant: SeededTenant;
const workers: ExportWorker[] = [];
const databases: Database[] = [];

beforeAll(async () => {
  opened = await openTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "ectus-worker-"));
  storage = await openStorage(pathToFileURL(folder).href);
  tenant = await seedTenant(opened.owner, storage, { completions: 200 });
});
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop();
  for (const database of databases.splice(0)) await database.close();
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  await opened.owner.query("delete from exports");
});

type Options = Partial<Parameters<typeof startExportWorker>[0]>;

/** A worker with a connection pool of its own, as one in another process has it. */
async function startWorker(options: Options = {}): Promise<ExportWorker> {
  const database = openDatabase({ url: opened.appUrl, poolSize: 2, log: recordingLog().log });
  databases.push(database);
  const worker = await startExportWorker({
    database,
    storage,
    signingKey,
    software: "tests",
    log: recordingLog().log,
    concurrency: 2,
    bytesPerSecond: 0,
    ttlMs: 60_000,
    partBytes: 20_000,
    ...options,
  });
  workers.push(worker);
  return worker;
}

const ask = (tenantId = tenant.id): Promise<ExportRow> => askForExport(opened.database, tenantId);

async function stateOf({ tenant_id, id }: ExportRow): Promise<ExportRow> {
  const row = await findExport(opened.database, tenant_id, id);
  if (row === undefined) throw new Error("the export is gone");
  return row;
}

const reaches = (row: ExportRow, state: ExportRow["state"]): Promise<void> =>
  until(async () => (await stateOf(row)).state === state, 20_000);

async function actionsOn({ id }: ExportRow): Promise<string[]> {
  const { rows } = await opened.owner.query("select action from audit_log where target_id = $1 order by id", [
    id,
  ]);
  return rows.map((row) => row.action);
}

/** A storage of which a write waits until it is let go, or for ever. */
function holding(): { readonly storage: BlobStorage; readonly held: Promise<void>; letGo(): void } {
  const { promise: held, resolve: hold } = Promise.withResolvers<void>();
  const { promise: free, resolve: letGo } = Promise.withResolvers<void>();
  async function* wait(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined) {
    hold();
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    await Promise.race([free, aborted]);
    yield* source;
  }
  return {
    held,
    letGo,
    storage: {
      ...storage,
      write: (tenantId, blobId, source, options) =>
        storage.write(tenantId, blobId, wait(source, options.signal), options),
    },
  };
}

describe("an export that is asked for", () => {
  test("is taken up at once, and its end is in its row, in the audit log, in lines and in metrics", async () => {
    const { log, lines } = recordingLog();
    const registry = new Registry();
    await startWorker({ log, instruments: createInstruments(registry) });
    const asked = await ask();
    await reaches(asked, "ready");
    const row = await stateOf(asked);
    expect(row).toMatchObject({ attempt: 1, phase: "done", worker_id: null, lease_until: null });
    expect(row.rows_done).toBe(row.rows_expected);
    expect((row.expires_at?.getTime() ?? 0) - Date.now()).toBeGreaterThan(50_000);
    expect(await actionsOn(asked)).toEqual(["export.requested", "export.started", "export.ready"]);
    await until(() => lines.some((line) => line.msg === "export ready"));
    expect(lines.find((line) => line.msg === "export ready")).toMatchObject({
      exportId: asked.id,
      tenantId: tenant.id,
      rows: row.rows_done,
      bytes: row.bytes_done,
    });
    expect(samplesOf(registry, "export_jobs_total")).toContainEqual(
      expect.objectContaining({ labels: { outcome: "ready" }, value: 1 }),
    );
    expect(samplesOf(registry, "export_bytes_total")).toMatchObject([{ value: row.bytes_done }]);
    expect(samplesOf(registry, "export_job_duration_seconds")).toMatchObject([{ value: 1 }]);
    await until(() => samplesOf(registry, "export_jobs_active")[0]?.value === 0);
  });

  test("runs as a trace of its own that is linked to the request, whose ids its lines have", async () => {
    const traces = recordTraces();
    const { log, lines } = recordingLog();
    await startWorker({ log, tracing: traces.tracing });
    const asked = await inTrace(traces, () => ask(), "the-request");
    await reaches(asked, "ready");
    await until(() => lines.some((line) => line.msg === "export ready"));
    await until(async () => (await traces.spans()).some((span) => span.name === "job export"));
    const spans = await traces.spans();
    const request = spans.find((span) => span.name === "request");
    const job = spans.find((span) => span.name === "job export");
    expect(job?.links[0]?.context.traceId).toBe(request?.spanContext().traceId);
    expect(lines.find((line) => line.msg === "export ready")).toMatchObject({ requestId: "the-request" });
    const own = spans.filter((span) => span.spanContext().traceId === job?.spanContext().traceId);
    expect(drawTree(own)).toEqual(
      expect.arrayContaining(["  export messages", "  export contents of files", "  seal"]),
    );
  });

  test("while nobody listened is found when a worker starts", async () => {
    const asked = await ask();
    await startWorker();
    await reaches(asked, "ready");
  });

  test("tells how far it is while it runs", async () => {
    const { storage: slow, held, letGo } = holding();
    await startWorker({ storage: slow });
    const asked = await ask();
    await held;
    await until(async () => (await stateOf(asked)).rows_expected !== null);
    expect(await stateOf(asked)).toMatchObject({ state: "running", phase: "tables", rows_done: 0 });
    letGo();
    await reaches(asked, "ready");
  });

  test("of nothing but files knows how much is to come", async () => {
    const slow: BlobStorage = { ...storage, read: () => new Promise(() => {}) };
    await startWorker({ storage: slow });
    const scope = { tables: [], files: true, auditLog: false };
    const asked = await askForExport(opened.database, tenant.id, { scope });
    await until(async () => (await stateOf(asked)).bytes_expected === 210_000);
    await deleteExport(opened.database, tenant.id, asked.id, bySystem);
  });

  test("keeps to the rate", async () => {
    const started = performance.now();
    await startWorker({ bytesPerSecond: 400_000 });
    const asked = await ask();
    await reaches(asked, "ready");
    const { bytes_done } = await stateOf(asked);
    expect(bytes_done).toBeGreaterThan(400_000);
    expect(performance.now() - started).toBeGreaterThan((bytes_done / 400_000) * 1_000 * 0.8);
  });
});

describe("of several workers", () => {
  test("each export is one's, and no more run than may", async () => {
    const others = [];
    for (let count = 0; count < 3; count += 1)
      others.push(await seedTenant(opened.owner, storage, { completions: 20, files: 1 }));
    const { storage: slow, letGo } = holding();
    for (let count = 0; count < 3; count += 1) await startWorker({ storage: slow, pollMs: 100 });
    const asked = await Promise.all([tenant, ...others].map(({ id }) => ask(id)));
    const running = async (): Promise<number> =>
      (await Promise.all(asked.map(stateOf))).filter(({ state }) => state === "running").length;
    await until(async () => (await running()) === 2);
    letGo();
    for (const row of asked) await reaches(row, "ready");
    for (const row of asked)
      expect(await actionsOn(row)).toEqual(["export.requested", "export.started", "export.ready"]);
  });

  test("the next one goes on with what a worker left that stopped", async () => {
    const { storage: slow, held } = holding();
    const first = await startWorker({ storage: slow });
    const asked = await ask();
    await held;
    await first.stop();
    expect(await stateOf(asked)).toMatchObject({ state: "queued", attempt: 1, worker_id: null });
    await startWorker();
    await reaches(asked, "ready");
    expect(await stateOf(asked)).toMatchObject({ attempt: 2 });
    expect(await actionsOn(asked)).toEqual([
      "export.requested",
      "export.started",
      "export.resumed",
      "export.ready",
    ]);
  });

  test("the next one takes up what a worker has that gave no sign, and that one ends without a trace in the bag", async () => {
    const { storage: slow, held, letGo } = holding();
    const { log, lines } = recordingLog();
    await startWorker({ storage: slow, log });
    const asked = await ask();
    await held;
    // As if it had been stopped by its machine for a while.
    await opened.owner.query("update exports set lease_until = now() - interval '1 second'");
    await startWorker();
    await reaches(asked, "ready");
    letGo();
    await until(() => lines.some((line) => String(line.msg).startsWith("export deleted, or taken over")));
    const rows = readRows(
      await readBag(opened.database, storage, tenant.id, asked.id),
      "data/tables/messages/",
    );
    expect(rows).toHaveLength(800);
  });
});

describe("an export", () => {
  test("that is deleted while it runs ends at once and leaves nothing behind", async () => {
    const before = new Set(await Array.fromAsync(storage.list(tenant.id)));
    const { storage: slow, held } = holding();
    const { log, lines } = recordingLog();
    await startWorker({ storage: slow, log });
    const asked = await ask();
    await held;
    await deleteExport(opened.database, tenant.id, asked.id, bySystem);
    await until(() => lines.some((line) => String(line.msg).startsWith("export deleted, or taken over")));
    expect(new Set(await Array.fromAsync(storage.list(tenant.id)))).toEqual(before);
  });

  test("that fails for a reason that passes goes on after a pause, with the parts that it had", async () => {
    let refused = 0;
    const failing: BlobStorage = {
      ...storage,
      async write(tenantId, blobId, source, options) {
        const digest = await storage.write(tenantId, blobId, source, options);
        refused += 1;
        if (refused !== 6 && refused !== 12) return digest;
        await storage.remove(tenantId, blobId);
        throw new EctusError("storage_full");
      },
    };
    await startWorker({ storage: failing, retryPauseMs: 50, pollMs: 50 });
    const asked = await ask();
    await reaches(asked, "ready");
    expect(await stateOf(asked)).toMatchObject({ attempt: 3, error_code: null });
  });

  test("that fills the disk goes on when there is room", async ({ skip }) => {
    const disk = join(folder, "small");
    await mkdir(disk);
    const unmount = mountSmallDisk(disk);
    if (unmount === undefined) return skip("this user may not mount a small disk");
    try {
      const filler = join(disk, "filler");
      await writeFile(filler, Buffer.alloc(900 * 1024));
      const small = await openStorage(pathToFileURL(join(disk, "blobs")).href);
      const { log, lines } = recordingLog();
      // Files are where they were uploaded.
      await startWorker({ storage: { ...small, read: storage.read }, retryPauseMs: 20, pollMs: 20, log });
      const asked = await ask();
      await until(() =>
        lines.some((line) => (line.err as { code?: string } | undefined)?.code === "storage_full"),
      );
      await rm(filler);
      await reaches(asked, "ready");
      const files = await readBag(opened.database, small, tenant.id, asked.id);
      expect(readRows(files, "data/tables/messages/")).toHaveLength(800);
    } finally {
      unmount();
    }
  });

  test("that fails again and again is given up with the reason, and its parts are removed", async () => {
    const before = new Set(await Array.fromAsync(storage.list(tenant.id)));
    const failing: BlobStorage = {
      ...storage,
      read: async () => {
        throw new EctusError("storage_error", { reason: "no route to the bucket" });
      },
    };
    const registry = new Registry();
    await startWorker({
      storage: failing,
      retryPauseMs: 1,
      pollMs: 20,
      instruments: createInstruments(registry),
    });
    const asked = await ask();
    await reaches(asked, "failed");
    expect(await stateOf(asked)).toMatchObject({
      attempt: 10,
      error_code: "storage_error",
      error_message:
        "The storage failed again and again. Ask for the export again, or give the operator its id.",
    });
    await until(async () => (await Array.fromAsync(storage.list(tenant.id))).length === before.size);
    expect((await actionsOn(asked)).at(-1)).toBe("export.failed");
    const outcomes = Object.fromEntries(
      samplesOf(registry, "export_jobs_total").map(({ labels, value }) => [labels.outcome, value]),
    );
    expect(outcomes).toEqual({ ready: 0, failed: 1, left: 9, superseded: 0 });
  });

  test("that fails for a reason that stays fails at once, and what nobody foresaw is told to nobody but the log", async () => {
    const { log, lines } = recordingLog();
    const failing: BlobStorage = {
      ...storage,
      read: async () => {
        throw new TypeError("secret of the program");
      },
    };
    await startWorker({ storage: failing, log });
    const asked = await ask();
    await reaches(asked, "failed");
    const row = await stateOf(asked);
    expect(row).toMatchObject({ attempt: 1, error_code: "internal_error" });
    expect(row.error_message).not.toContain("secret of the program");
    expect(JSON.stringify(lines)).toContain("secret of the program");
  });

  test("goes on when its connections are cut", async () => {
    const { storage: slow, held, letGo } = holding();
    await startWorker({ storage: slow, retryPauseMs: 50, pollMs: 50 });
    const asked = await ask();
    await held;
    const { rows } = await opened.owner.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name = 'ectus-export'",
    );
    expect(rows.length).toBeGreaterThan(0);
    letGo();
    await reaches(asked, "ready");
    expect((await stateOf(asked)).attempt).toBe(2);
  });
});

test("the age of the oldest export that is not finished is measured", async () => {
  await opened.owner.query("alter table exports disable trigger exports_change");
  const registry = new Registry();
  await startWorker({ instruments: createInstruments(registry), concurrency: 1, pollMs: 60_000 });
  await ask();
  await opened.owner.query("update exports set created_at = now() - interval '100 seconds'");
  await until(() => (samplesOf(registry, "export_oldest_running_seconds")[0]?.value ?? 0) >= 100);
  await opened.owner.query("alter table exports enable trigger exports_change");
});
