// The bag of an export that is ready: the tar file that its parts make, and how large that is.
import { layOutTar, type TarEntry, type TarLayout } from "@ectus/bag";
import { EctusError } from "@ectus/core";
import { type Database, type ExportRow, findExport, listExportParts } from "@ectus/database";
import { publicId } from "../public-ids.ts";
import { exportNotFound } from "./export-door.ts";
import { type BagSize, stateOf } from "./export-object.ts";

export interface BagFile extends TarEntry {
  readonly blobId: string;
}

export interface Bag {
  readonly name: string;
  /** SHA-256 of tagmanifest-sha256.txt: of everything in it. */
  readonly digest: Buffer;
  readonly sealedAt: Date;
}

export interface Bags {
  /** @throws EctusError `not_found`, `export_not_ready` or `export_expired` */
  ready(tenantId: string, id: string): Promise<Bag>;
  /** The tar file: what describes the bag comes first, so that it is read first. @throws as `ready` */
  layOut(tenantId: string, id: string, bag: Bag): Promise<TarLayout<BagFile>>;
  /** Undefined unless it is ready. */
  sizeOf(row: ExportRow): Promise<BagSize | undefined>;
}

// A bag that is ready never changes, and its size takes all of its parts to say: enough for lists that are read often.
const mostSizes = 1_000;

export function createBags(database: Database): Bags {
  const sizes = new Map<string, BagSize>();

  async function layOut(tenantId: string, id: string, bag: Bag): Promise<TarLayout<BagFile> | undefined> {
    const parts = await listExportParts(database, tenantId, id);
    if (parts.length === 0) return undefined;
    const tags = parts.filter(({ kind }) => kind === "tag");
    const payload = parts.filter(({ kind }) => kind !== "tag");
    const entries = [...tags, ...payload].map(({ path, bytes, blob_id }) => ({
      path: `${bag.name}/${path}`,
      bytes,
      blobId: blob_id,
    }));
    const layout = layOutTar(entries, { modifiedAt: bag.sealedAt });
    keep(id, { bytes: layout.bytes, files: entries.length });
    return layout;
  }

  function keep(id: string, size: BagSize): void {
    sizes.delete(id);
    sizes.set(id, size);
    const [oldest] = sizes.keys();
    if (sizes.size > mostSizes && oldest !== undefined) sizes.delete(oldest);
  }

  async function ready(tenantId: string, id: string): Promise<Bag> {
    const row = await findExport(database, tenantId, id);
    if (row === undefined) throw exportNotFound(publicId("export-", id));
    const state = stateOf(row, new Date());
    if (state === "expired")
      throw new EctusError("export_expired", { expiredAt: row.expires_at?.toISOString() });
    const bag = bagOf(row);
    if (state !== "ready" || bag === undefined)
      throw new EctusError("export_not_ready", {
        state,
        ...(row.error_message === null ? {} : { reason: row.error_message }),
      });
    return bag;
  }

  return {
    ready,
    async layOut(tenantId, id, bag) {
      const layout = await layOut(tenantId, id, bag);
      if (layout !== undefined) return layout;
      // It went away since it was found.
      await ready(tenantId, id);
      throw new EctusError("storage_error", { reason: "an export that is ready has no files" });
    },
    async sizeOf(row) {
      const bag = bagOf(row);
      if (stateOf(row, new Date()) !== "ready" || bag === undefined) return undefined;
      if (!sizes.has(row.id)) await layOut(row.tenant_id, row.id, bag);
      return sizes.get(row.id);
    },
  };
}

function bagOf({ bag_name, bag_digest, finished_at, created_at }: ExportRow): Bag | undefined {
  if (bag_name === null || bag_digest === null) return undefined;
  return { name: bag_name, digest: bag_digest, sealedAt: finished_at ?? created_at };
}
