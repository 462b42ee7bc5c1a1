// What is large is exported without being held in memory: measured of a worker that is a process of its own.
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createZstdDecompress } from "node:zlib";
import { type ExportRow, findExport, listExportParts } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { newTenant } from "../postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { until } from "../postgres/until.ts";
import { askForExport } from "./run-export.ts";
import { startWorkerProcess, type WorkerProcess } from "./start-worker.ts";

const seed = randomBytes(32).toString("base64url");
const mebibyte = 1024 * 1024;
// A worker that has nothing to do has some 130.
const mostMemory = 200 * mebibyte;

let opened: OpenTestDatabase;
let storage: BlobStorage;
let storageUrl: string;
let folder: string;
let worker: WorkerProcess | undefined;

beforeAll(async () => {
  opened = await openTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "ectus-large-"));
  storageUrl = pathToFileURL(join(folder, "storage")).href;
  storage = await openStorage(storageUrl);
});
afterEach(async () => {
  await worker?.stop();
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});

/** Exports a table by a worker of its own; gives the export and the most memory that the worker ever had. */
async function exported(
  tenantId: string,
  table: "messages" | "users",
  rowFormat: ExportRow["row_format"],
): Promise<{ readonly id: string; readonly memory: number }> {
  worker = await startWorkerProcess({ database: opened, storageUrl, signingKey: seed, bytesPerSecond: 0 });
  const scope = { tables: [table], files: false, auditLog: false };
  const { id } = await askForExport(opened.database, tenantId, { rowFormat, scope });
  const state = async () => (await findExport(opened.database, tenantId, id))?.state;
  await until(async () => (await state()) !== "queued" && (await state()) !== "running", 120_000, 50);
  const row = await findExport(opened.database, tenantId, id);
  expect(row).toMatchObject({ state: "ready", error_message: null, attempt: 1 });
  const status = await readFile(`/proc/${worker.pid}/status`, "utf8");
  const memory = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  return { id, memory };
}

/** What the parts of an export have, piece by piece. */
async function partsOf(tenantId: string, exportId: string): Promise<{ bytes: number; lines: number }> {
  let bytes = 0;
  let lines = 0;
  for (const { blob_id, kind } of await listExportParts(opened.database, tenantId, exportId)) {
    if (kind !== "rows") continue;
    const unpacked = (await storage.read(tenantId, blob_id)).pipe(
      createZstdDecompress({ chunkSize: mebibyte }),
    );
    for await (const chunk of unpacked as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      for (let at = chunk.indexOf("\n"); at >= 0; at = chunk.indexOf("\n", at + 1)) lines += 1;
    }
  }
  return { bytes, lines };
}

describe.runIf(process.platform === "linux")("a worker needs no more than 200 MB for", () => {
  test.each(["ndjson", "csv"] as const)(
    "a row of 200 MB as %s",
    async (rowFormat) => {
      const length = 200_000_000;
      const { id: tenantId } = await newTenant(opened.database);
      await opened.owner.query(
        `with made as (
           insert into completions (tenant_id, id, created_at, model, request, response)
           values ($1, gen_random_uuid(), now(), 'm', '{}', '{}') returning id
         )
         insert into messages (tenant_id, completion_id, position, direction, role, body)
         select $1, id, n, 'input', 'user', jsonb_build_object('content', repeat('0123456789', case n when 1 then $2 else 1 end))
         from made, generate_series(0, 2) n`,
        [tenantId, length / 10],
      );
      const { id, memory } = await exported(tenantId, "messages", rowFormat);
      const { bytes, lines } = await partsOf(tenantId, id);
      expect(bytes).toBeGreaterThan(length);
      expect(bytes).toBeLessThan(length + 2_000);
      // A part ends after the large row, and the third one is in a second part, with a header of its own.
      expect(lines).toBe(rowFormat === "csv" ? 3 + 2 : 3);
      expect(memory).toBeLessThan(mostMemory);
    },
    180_000,
  );

  test("a million small rows", async () => {
    const rows = 1_000_000;
    const { id: tenantId } = await newTenant(opened.database);
    await opened.owner.query("drop index users_email");
    await opened.owner.query(
      `insert into users (tenant_id, id, name, email)
       select $1, gen_random_uuid(), 'n', n || '@x.example' from generate_series(1, $2::integer) n`,
      [tenantId, rows],
    );
    const { id, memory } = await exported(tenantId, "users", "ndjson");
    expect((await partsOf(tenantId, id)).lines).toBe(rows);
    expect(memory).toBeLessThan(mostMemory);
  }, 180_000);
});
