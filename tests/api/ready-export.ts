// An export that is ready, made by hand: its rows and its blobs, without the worker that would write them.
import { createHash, randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { newUuid } from "@ectus/core";
import { exportedTables } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import type { TestApi } from "./start-api.ts";

/** Where it is put. */
export interface ExportPlace extends Pick<TestApi, "sql"> {
  readonly serverOptions: { readonly storage: BlobStorage };
}

export interface BagFile {
  /** Below the bag's folder. */
  readonly path: string;
  readonly content: Buffer;
}

export interface MadeExport {
  /** As clients have it. */
  readonly id: string;
  readonly uuid: string;
  readonly bagName: string;
  /** In lower-case hexadecimal. */
  readonly digest: string;
  readonly finishedAt: Date;
  readonly files: readonly (BagFile & { readonly blobId: string })[];
}

export interface ExportColumns {
  readonly [column: string]: unknown;
}

/** Contents of any length that differ at every place. */
export function contentOf(bytes: number, seed = 1): Buffer {
  const content = Buffer.alloc(bytes);
  let state = seed;
  for (let at = 0; at < bytes; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    content[at] = state >>> 24;
  }
  return content;
}

const tagFiles: readonly BagFile[] = [
  { path: "bag-info.txt", content: Buffer.from("Bag-Software-Agent: tests\n") },
  { path: "bagit.txt", content: Buffer.from("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n") },
  { path: "export.json", content: Buffer.from('{"format":"ectus-export"}') },
  { path: "export.json.sig", content: contentOf(64) },
];

/** Puts an export in any state, as a worker would have left it. */
export async function insertExport(
  api: Pick<TestApi, "sql">,
  tenantId: string,
  columns: ExportColumns = {},
): Promise<{ readonly id: string; readonly uuid: string }> {
  const { uuid = newUuid(), ...given } = columns as { uuid?: string };
  const values: ExportColumns = {
    tenant_id: tenantId,
    id: uuid,
    created_by_type: "api_key",
    row_format: "ndjson",
    compression: "zstd",
    scope: JSON.stringify({ tables: exportedTables, files: true, auditLog: true }),
    ...given,
  };
  const names = Object.keys(values);
  await api.sql(
    `insert into exports (${names.join(", ")}) values (${names.map((_, index) => `$${index + 1}`).join(", ")})`,
    Object.values(values),
  );
  return { id: `export-${uuid.replaceAll("-", "")}`, uuid };
}

export async function makeReadyExport(
  api: ExportPlace,
  tenantId: string,
  payload: readonly BagFile[] = [],
  columns: ExportColumns = {},
): Promise<MadeExport> {
  const bagName = "a-tests-tenant-2026-01-02-0123456789ab";
  const finishedAt = new Date("2026-01-02T03:04:05.678Z");
  const digest = createHash("sha256").update(randomUUID()).digest();
  const { id, uuid } = await insertExport(api, tenantId, {
    state: "ready",
    phase: "done",
    attempt: 1,
    started_at: new Date(finishedAt.getTime() - 10_000),
    finished_at: finishedAt,
    expires_at: new Date(Date.now() + 7 * 24 * 60 * 60_000),
    bag_name: bagName,
    bag_digest: digest,
    ...columns,
  });
  const files = [];
  for (const { path, content } of [...tagFiles, ...payload]) {
    const blobId = randomUUID();
    await api.serverOptions.storage.write(tenantId, blobId, Readable.from([content]), {
      maxBytes: 1_000_000_000,
    });
    const kind = path.startsWith("data/files/") ? "file" : path.startsWith("data/") ? "rows" : "tag";
    await api.sql(
      `insert into export_parts (tenant_id, export_id, path, kind, blob_id, bytes, sha256, source, number, row_count, row_bytes, row_digest)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
      [
        ...[tenantId, uuid, path, kind, blobId, content.length],
        createHash("sha256").update(content).digest(),
        kind === "tag" ? null : "a source",
        ...(kind === "rows" ? [1, 1, content.length, "0".repeat(16)] : [null, null, null, null]),
      ],
    );
    files.push({ path, content, blobId });
  }
  return { id, uuid, bagName, digest: digest.toString("hex"), finishedAt, files };
}
