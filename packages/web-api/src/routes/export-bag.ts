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

interface LaidOut {
  readonly layout: TarLayout<BagFile>;
  readonly files: number;
}

interface KeptLayout {
  readonly laidOut: Promise<LaidOut | undefined>;
  /** 0 until they are known. */
  files: number;
}

// A bag that is ready never changes, and its size takes all of its parts to say: enough for lists that are read often.
const mostSizes = 1_000;
// Files of all bags whose layouts are kept, about 25 MB; the last one is kept however many it has.
const mostFiles = 100_000;

export function createBags(database: Database): Bags {
  const sizes = new Map<string, BagSize>();
  /** By tenant and id. The last was asked for last. */
  const layouts = new Map<string, KeptLayout>();

  /** Undefined if it has no files. They are read once for all ranges of a bag, also for those that come at once. */
  function layOut(tenantId: string, id: string, bag: Bag): Promise<LaidOut | undefined> {
    const key = `${tenantId}/${id}`;
    const kept = layouts.get(key) ?? read(key, tenantId, id, bag);
    layouts.delete(key);
    layouts.set(key, kept);
    return kept.laidOut;
  }

  function read(key: string, tenantId: string, id: string, bag: Bag): KeptLayout {
    const kept: KeptLayout = { laidOut: readLayout(tenantId, id, bag), files: 0 };
    const forget = (): void => {
      if (layouts.get(key) === kept) layouts.delete(key);
    };
    kept.laidOut.then((laidOut) => {
      if (laidOut === undefined) return forget();
      kept.files = laidOut.files;
      dropOldest();
    }, forget);
    return kept;
  }

  function dropOldest(): void {
    let files = 0;
    for (const kept of layouts.values()) files += kept.files;
    for (const [key, kept] of layouts) {
      if (files <= mostFiles || layouts.size === 1) return;
      files -= kept.files;
      layouts.delete(key);
    }
  }

  async function readLayout(tenantId: string, id: string, bag: Bag): Promise<LaidOut | undefined> {
    const parts = await listExportParts(database, tenantId, id);
    if (parts.length === 0) return undefined;
    const tags = parts.filter(({ kind }) => kind === "tag");
    const payload = parts.filter(({ kind }) => kind !== "tag");
    const entries = [...tags, ...payload].map(({ path, bytes, blob_id }) => ({
      path: `${bag.name}/${path}`,
      bytes,
      blobId: blob_id,
    }));
    // A bag has the folder of its payload also if nothing is in it (RFC 8493, section 2.1.2).
    const folder = payload.length === 0 ? [{ path: `${bag.name}/data/`, bytes: 0, blobId: "" }] : [];
    const layout = layOutTar([...entries, ...folder], { modifiedAt: bag.sealedAt });
    return { layout, files: entries.length };
  }

  function keepSize(id: string, { layout, files }: LaidOut): BagSize {
    const size = { bytes: layout.bytes, files };
    sizes.set(id, size);
    const [oldest] = sizes.keys();
    if (sizes.size > mostSizes && oldest !== undefined) sizes.delete(oldest);
    return size;
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
      const laidOut = await layOut(tenantId, id, bag);
      if (laidOut !== undefined) return laidOut.layout;
      // It went away since it was found.
      await ready(tenantId, id);
      throw new EctusError("storage_error", { reason: "an export that is ready has no files" });
    },
    async sizeOf(row) {
      const bag = bagOf(row);
      if (stateOf(row, new Date()) !== "ready" || bag === undefined) return undefined;
      const known = sizes.get(row.id);
      if (known !== undefined) return known;
      const laidOut = await layOut(row.tenant_id, row.id, bag);
      return laidOut && keepSize(row.id, laidOut);
    },
  };
}

function bagOf({ bag_name, bag_digest, finished_at, created_at }: ExportRow): Bag | undefined {
  if (bag_name === null || bag_digest === null) return undefined;
  return { name: bag_name, digest: bag_digest, sealedAt: finished_at ?? created_at };
}
