// Runs exports as a worker does, in a process of its own, for bench/export.ts: one after the other, each into an empty
// storage. Without the second path, the answers of an earlier run stand in for the database's counts and digests.
import { randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createSigningKey } from "@ectus/bag";
import { createLogging, newUuid } from "@ectus/core";
import {
  claimExport,
  createExport,
  type Database,
  deleteExport,
  newCounts,
  openDatabase,
  runExport,
  type Snapshot,
  type SnapshotReader,
} from "@ectus/database";
import { openStorage } from "@ectus/storage";

export interface ExportJob {
  readonly url: string;
  readonly tenantId: string;
  readonly format: "csv" | "ndjson";
  readonly folder: string;
  readonly isVerified: boolean;
}

export interface ExportResult {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly rows: number;
  readonly bytes: number;
  /** The most that the process had resident since it began, if the platform says. */
  readonly peakBytes: number | null;
}

const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("database");
const signingKey = createSigningKey(randomBytes(32).toString("base64url"));
const actor = { actor: { type: "operator" } } as const;

process.on("message", (job: ExportJob) =>
  run(job).then(
    (result) => process.send?.(result),
    (error) => {
      process.stderr.write(`${error.stack}\n`);
      process.exit(1);
    },
  ),
);
process.once("disconnect", () => process.exit(0));

/** What the second reader was answered, by the format. */
const answers = new Map<string, unknown[]>();

async function run({ url, tenantId, format, folder, isVerified }: ExportJob): Promise<ExportResult> {
  const database = openDatabase({ url, poolSize: 4, log });
  const storageFolder = join(folder, newUuid());
  const storage = await openStorage(pathToFileURL(storageFolder).href);
  const scope = { tables: ["messages"], files: false, auditLog: false };
  const wanted = { tenantId, rowFormat: format, compression: "zstd", scope, mostUnfinished: 100 } as const;
  const { id } = await createExport(database, wanted, actor);
  const claimed = await claimExport(database, newUuid(), {
    most: 100,
    mostOfTenant: 100,
    leaseMs: 3_600_000,
  });
  if (claimed?.claim.id !== id) throw new Error("another export was claimed");
  const key = `${tenantId} ${format}`;
  const through = isVerified ? recording(database, key) : replaying(database, key);
  const started = performance.now();
  const cpu = process.cpuUsage();
  const finished = await runExport(
    { database: through, store: storage, signingKey, software: "bench", bytesPerSecond: 0, log },
    { ...claimed, counts: newCounts(), signal: new AbortController().signal },
  );
  const seconds = (performance.now() - started) / 1_000;
  const { user, system } = process.cpuUsage(cpu);
  await deleteExport(database, tenantId, id, actor);
  await database.close();
  await rm(storageFolder, { recursive: true });
  const { rows, bytes } = finished;
  return { seconds, cpuSeconds: (user + system) / 1e6, rows, bytes, peakBytes: await peakBytes() };
}

function through(database: Database, second: (reader: SnapshotReader) => SnapshotReader): Database {
  return {
    ...database,
    inSnapshot: (options, work) =>
      database.inSnapshot(options, ({ takenAt, readers: [first, ...rest] }: Snapshot) =>
        work({ takenAt, readers: [first, ...rest.map(second)] }),
      ),
  };
}

function recording(database: Database, key: string): Database {
  const recorded: unknown[] = [];
  answers.set(key, recorded);
  return through(database, (reader) => ({
    ...reader,
    async query<Row extends object>(query: Parameters<SnapshotReader["query"]>[0]): Promise<Row[]> {
      const rows = await reader.query<Row>(query);
      recorded.push(rows);
      return rows;
    },
  }));
}

function replaying(database: Database, key: string): Database {
  const recorded = answers.get(key);
  if (recorded === undefined) throw new Error("nothing was recorded of this export");
  let next = 0;
  return through(database, (reader) => ({
    ...reader,
    query: async <Row extends object>(): Promise<Row[]> => recorded[next++] as Row[],
  }));
}

async function peakBytes(): Promise<number | null> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  return kib === undefined ? null : Number(kib) * 1_024;
}
