import { newUuid, runInContext } from "@ectus/core";
import type pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bySystem } from "../../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import type { Database } from "../database.ts";
import {
  type ClaimLimits,
  claimExport,
  type ExportClaim,
  failExport,
  finishExport,
  leaveExport,
  noteExportStart,
  putExportPart,
  removeExportParts,
  reportExportProgress,
} from "./export-work.ts";
import {
  createExport,
  deleteExport,
  expireExport,
  findExpiredExports,
  findExport,
  findExportPart,
  listExportParts,
  listExports,
  type NewExport,
  noteExportDownload,
  oldestUnfinishedExport,
} from "./exports.ts";
import { createTenant } from "./tenants.ts";

let opened: OpenTestDatabase;
let database: Database;
let owner: pg.Client;
let mine: string;
let theirs: string;

beforeAll(async () => {
  opened = await openTestDatabase();
  ({ database, owner } = opened);
});
afterAll(() => opened.close());
beforeEach(async () => {
  await owner.query("delete from exports");
  mine = (await createTenant(database, { name: "Mine" }, bySystem)).id;
  theirs = (await createTenant(database, { name: "Theirs" }, bySystem)).id;
});

const scope = { tables: ["users"], files: true, auditLog: false } as const;
const actor = { actor: { type: "api_key", id: newUuid() }, requestId: "req_1" } as const;
const wanted = (more: Partial<NewExport> = {}): NewExport => ({
  tenantId: mine,
  rowFormat: "ndjson",
  compression: "zstd",
  scope,
  mostUnfinished: 2,
  ...more,
});
const limits: ClaimLimits = { most: 2, mostOfTenant: 1, leaseMs: 60_000 };
const worker = newUuid();
const claimNext = async (workerId = worker, more: Partial<ClaimLimits> = {}): Promise<ExportClaim> => {
  const found = await claimExport(database, workerId, { ...limits, ...more });
  if (found === undefined) throw new Error("nothing to claim");
  return found.claim;
};
const part = (path: string, more = {}) => ({
  path,
  kind: "tag" as const,
  blob_id: newUuid(),
  bytes: 3,
  sha256: Buffer.alloc(32, 1),
  ...more,
});
const actionsOn = async (id: string): Promise<string[]> => {
  const { rows } = await owner.query("select action from audit_log where target_id = $1 order by id", [id]);
  return rows.map((row) => row.action);
};
const superseded = { code: "export_superseded" };

describe("an export that is asked for", () => {
  test("waits with what was asked, and the audit log says so without naming the person", async () => {
    const person = { ...scope, subject: "ada@example.org" };
    const row = await createExport(database, wanted({ scope: person }), actor);
    expect(row).toMatchObject({
      state: "queued",
      phase: "waiting",
      attempt: 0,
      scope: person,
      rows_expected: null,
    });
    expect(await findExport(database, mine, row.id)).toEqual(row);
    const { rows } = await owner.query("select * from audit_log where target_id = $1", [row.id]);
    expect(rows).toMatchObject([
      { action: "export.requested", actor_id: actor.actor.id, details: { format: "ndjson", subject: true } },
    ]);
    expect(JSON.stringify(rows)).not.toContain("ada@");
  });

  test("remembers which request asked, for its trace", async () => {
    const context = { correlationId: "corr-1", requestId: "req_2" };
    const row = await runInContext(context, () => createExport(database, wanted(), actor));
    expect(row.origin).toMatchObject(context);
  });

  test("with the same key again is the same one, also at once", async () => {
    const same = wanted({ idempotencyKey: "once" });
    const all = await Promise.all(Array.from({ length: 4 }, () => createExport(database, same, actor)));
    expect(new Set(all.map(({ id }) => id)).size).toBe(1);
    // Another tenant's key is its own.
    const other = await createExport(database, { ...same, tenantId: theirs }, actor);
    expect(other.id).not.toBe(all[0]?.id);
  });

  test("with the same key for something else is refused", async () => {
    await createExport(database, wanted({ idempotencyKey: "once" }), actor);
    for (const more of [
      { rowFormat: "csv" },
      { compression: "none" },
      { scope: { ...scope, files: false } },
    ] as const) {
      const other = wanted({ idempotencyKey: "once", ...more });
      await expect(createExport(database, other, actor)).rejects.toMatchObject({
        code: "idempotency_mismatch",
      });
    }
  });

  test("beyond what may be unfinished is refused, also at once, and another tenant's does not count", async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 5 }, () => createExport(database, wanted(), actor)),
    );
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
    for (const result of results) {
      if (result.status === "rejected")
        expect(result.reason).toMatchObject({ code: "too_many_exports", status: 429 });
    }
    await createExport(database, wanted({ tenantId: theirs }), actor);
  });

  test("is seen by its tenant alone", async () => {
    const row = await createExport(database, wanted(), actor);
    expect(await findExport(database, theirs, row.id)).toBeUndefined();
    expect(await listExports(database, theirs, { limit: 9, order: "desc" })).toEqual([]);
    expect(await deleteExport(database, theirs, row.id, actor)).toBeUndefined();
    expect(await listExportParts(database, theirs, row.id)).toEqual([]);
  });

  test("is listed in either order, page by page", async () => {
    const ids: string[] = [];
    for (let count = 0; count < 3; count += 1)
      ids.push((await createExport(database, wanted({ mostUnfinished: 9 }), actor)).id);
    const list = async (page: Parameters<typeof listExports>[2]) =>
      (await listExports(database, mine, page)).map(({ id }) => id);
    expect(await list({ limit: 2, order: "asc" })).toEqual(ids.slice(0, 2));
    expect(await list({ limit: 2, order: "asc", after: ids[1] as string })).toEqual(ids.slice(2));
    expect(await list({ limit: 9, order: "desc", after: ids[1] as string })).toEqual(ids.slice(0, 1));
  });
});

describe("a claim", () => {
  test("is of the oldest that waits, and of one tenant one at a time", async () => {
    const first = await createExport(database, wanted(), actor);
    await createExport(database, wanted(), actor);
    const other = await createExport(database, wanted({ tenantId: theirs }), actor);
    expect(await claimNext()).toEqual({ tenantId: mine, id: first.id, workerId: worker, attempt: 1 });
    expect((await claimNext()).id).toBe(other.id);
    await expect(claimNext()).rejects.toThrow("nothing to claim");
    await expect(claimNext(worker, { most: 9 })).rejects.toThrow("nothing to claim");
  });

  test("of many workers at once is one each, and no more than may run", async () => {
    for (const tenantId of [mine, theirs, (await createTenant(database, { name: "Third" }, bySystem)).id])
      await createExport(database, wanted({ tenantId }), actor);
    const claims = await Promise.all(
      Array.from({ length: 8 }, () => claimExport(database, newUuid(), limits)),
    );
    const ids = claims.flatMap((found) => (found === undefined ? [] : [found.claim.id]));
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(2);
  });

  test("of a worker that gave no sign in time is another's, and the first one may not write any more", async () => {
    const { id } = await createExport(database, wanted(), actor);
    const lost = await claimNext(worker, { leaseMs: 1 });
    await putExportPart(database, lost, part("bagit.txt"));
    await owner.query("update exports set lease_until = now() - interval '1 second'");
    const next = await claimNext(newUuid());
    expect(next).toMatchObject({ id, attempt: 2 });
    const progress = {
      phase: "tables",
      rowsDone: 1,
      bytesDone: 1,
      rowsExpected: null,
      bytesExpected: null,
    } as const;
    const finished = { bagName: "b", bagDigest: Buffer.alloc(32), ttlMs: 1, rows: 1, bytes: 1, kid: "k" };
    const writes = [
      reportExportProgress(database, lost, progress, 60_000),
      putExportPart(database, lost, part("bag-info.txt")),
      removeExportParts(database, lost, [{ path: "bagit.txt" }]),
      finishExport(database, lost, finished),
      failExport(database, lost, { code: "internal_error", message: "x" }),
      leaveExport(database, lost, 0),
      leaveExport(database, lost, 1_000),
      noteExportStart(database, lost),
    ];
    await Promise.all(writes.map((write) => expect(write).rejects.toMatchObject(superseded)));
    expect((await listExportParts(database, mine, id)).map(({ path }) => path)).toEqual(["bagit.txt"]);
    await reportExportProgress(database, next, progress, 60_000);
    expect(await findExport(database, mine, id)).toMatchObject({
      state: "running",
      phase: "tables",
      rows_done: 1,
    });
  });

  test("that is left goes to whoever comes next, at once or after a pause", async () => {
    await createExport(database, wanted(), actor);
    await leaveExport(database, await claimNext(), 0);
    const again = await claimNext(newUuid());
    expect(again.attempt).toBe(2);
    await leaveExport(database, again, 60_000);
    await expect(claimNext()).rejects.toThrow("nothing to claim");
    await owner.query("update exports set lease_until = now()");
    expect((await claimNext()).attempt).toBe(3);
  });

  test("ends with the deletion of its export", async () => {
    const { id } = await createExport(database, wanted(), actor);
    const claim = await claimNext();
    const written = part("bagit.txt");
    await putExportPart(database, claim, written);
    expect(await deleteExport(database, mine, id, actor)).toEqual([written.blob_id]);
    await expect(putExportPart(database, claim, part("x"))).rejects.toMatchObject(superseded);
    expect(await deleteExport(database, mine, id, actor)).toBeUndefined();
    expect(await actionsOn(id)).toEqual(["export.requested", "export.deleted"]);
  });
});

describe("the files of a bag", () => {
  test("are listed by path as bytes sort, found by path, and replaced with the blob that is left over", async () => {
    const { id } = await createExport(database, wanted(), actor);
    const claim = await claimNext();
    const first = part("data/tables/users/part-00001.ndjson", {
      kind: "rows",
      source: "users",
      number: 1,
      row_count: 2,
      row_bytes: 9,
      row_digest: "00000000000000ff",
      last_key: JSON.stringify(["a"]),
    });
    expect(await putExportPart(database, claim, first)).toBeUndefined();
    await putExportPart(database, claim, part("data/files/Z"));
    await putExportPart(database, claim, part("bagit.txt"));
    expect(await putExportPart(database, claim, { ...first, blob_id: newUuid() })).toBe(first.blob_id);
    expect((await listExportParts(database, mine, id)).map(({ path }) => path)).toEqual([
      "bagit.txt",
      "data/files/Z",
      first.path,
    ]);
    expect(await findExportPart(database, mine, id, first.path)).toMatchObject({
      row_count: 2,
      last_key: ["a"],
    });
    expect(await findExportPart(database, mine, id, "data/files/z")).toBeUndefined();
    expect(await findExportPart(database, theirs, id, first.path)).toBeUndefined();
    await removeExportParts(database, claim, []);
    await removeExportParts(database, claim, [{ path: "bagit.txt" }, { path: "data/files/Z" }]);
    expect(await listExportParts(database, mine, id)).toHaveLength(1);
  });
});

describe("the end of an export", () => {
  test("is a bag, until its time is over", async () => {
    const { id } = await createExport(database, wanted(), actor);
    const claim = await claimNext();
    await noteExportStart(database, claim);
    await putExportPart(database, claim, part("bagit.txt"));
    const bagDigest = Buffer.alloc(32, 7);
    await finishExport(database, claim, {
      bagName: "mine",
      bagDigest,
      ttlMs: 60_000,
      rows: 5,
      bytes: 50,
      kid: "k",
    });
    expect(await findExport(database, mine, id)).toMatchObject({
      state: "ready",
      phase: "done",
      bag_name: "mine",
      bag_digest: bagDigest,
      rows_done: 5,
      lease_until: null,
      worker_id: null,
    });
    expect(await findExpiredExports(database, 9)).toEqual([]);
    expect(await expireExport(database, mine, id)).toBeUndefined();
    await noteExportDownload(database, mine, id, { bytes: 50 }, actor);
    await owner.query("update exports set expires_at = now()");
    expect(await findExpiredExports(database, 9)).toEqual([{ tenantId: mine, id }]);
    expect(await expireExport(database, mine, id)).toHaveLength(1);
    expect(await expireExport(database, mine, id)).toBeUndefined();
    expect(await findExport(database, mine, id)).toMatchObject({ state: "expired" });
    expect(await listExportParts(database, mine, id)).toEqual([]);
    expect(await actionsOn(id)).toEqual([
      "export.requested",
      "export.started",
      "export.ready",
      "export.downloaded",
      "export.expired",
    ]);
  });

  test("in failure keeps the reason and gives back what was written", async () => {
    const { id } = await createExport(database, wanted(), actor);
    const claim = await claimNext();
    const written = part("bagit.txt");
    await putExportPart(database, claim, written);
    const error = { code: "export_incomplete", message: "a file is missing" };
    expect(await failExport(database, claim, error)).toEqual([written.blob_id]);
    expect(await findExport(database, mine, id)).toMatchObject({ state: "failed", error_code: error.code });
    expect(await listExportParts(database, mine, id)).toEqual([]);
    await expect(claimNext()).rejects.toThrow("nothing to claim");
  });
});

test("the age of the oldest that is not finished is known without a tenant in scope", async () => {
  expect(await oldestUnfinishedExport(database)).toEqual({ seconds: 0 });
  await createExport(database, wanted(), actor);
  await owner.query("update exports set created_at = now() - interval '90 seconds'");
  expect((await oldestUnfinishedExport(database)).seconds).toBeGreaterThanOrEqual(90);
});
