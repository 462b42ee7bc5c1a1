import { createHash } from "node:crypto";
import { newUuid } from "@ectus/core";
import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bySystem } from "../../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import type { Database } from "../database.ts";
import { deleteFile, type FileRow, getFile, insertFile, listFiles, neededBlobs } from "./files.ts";
import { createTenant } from "./tenants.ts";

let opened: OpenTestDatabase;
let database: Database;
let owner: pg.Client;
let mine: string;
let theirs: string;

beforeAll(async () => {
  opened = await openTestDatabase();
  ({ database, owner } = opened);
  mine = (await createTenant(database, { name: "Mine" }, bySystem)).id;
  theirs = (await createTenant(database, { name: "Theirs" }, bySystem)).id;
});
afterAll(() => opened.close());

function insert(tenant_id: string, more: Partial<FileRow> = {}): Promise<FileRow> {
  const file = {
    tenant_id,
    id: newUuid(),
    filename: "a.jsonl",
    purpose: "user_data",
    content_type: "application/jsonl",
    bytes: 5_000_000_000,
    sha256: createHash("sha256").update("x").digest(),
  };
  return insertFile(database, { ...file, ...more }, bySystem);
}

async function audited(target: string): Promise<unknown[]> {
  const { rows } = await owner.query(
    "select action, details from audit_log where target_id = $1 order by id",
    [target],
  );
  return rows;
}

test("a file is kept as it was described, and its making and end are in the audit log", async () => {
  const file = await insert(mine);
  expect(await getFile(database, mine, file.id)).toEqual(file);
  expect(file.bytes).toBe(5_000_000_000);
  await deleteFile(database, mine, file.id, bySystem);
  expect(await audited(file.id)).toEqual([
    { action: "file.created", details: { bytes: 5_000_000_000, purpose: "user_data" } },
    { action: "file.deleted", details: {} },
  ]);
  await expect(getFile(database, mine, file.id)).rejects.toMatchObject({ code: "not_found" });
});

test("another tenant's file is not_found, and stays", async () => {
  const file = await insert(theirs);
  const shown = `No file with id 'file-${file.id.replaceAll("-", "")}'.`;
  await expect(getFile(database, mine, file.id)).rejects.toThrow(shown);
  await expect(deleteFile(database, mine, file.id, bySystem)).rejects.toThrow(shown);
  expect(await getFile(database, theirs, file.id)).toEqual(file);
  expect(await audited(file.id)).toHaveLength(1);
});

test("files are listed in the order in which they were made or backwards, page by page, by purpose", async () => {
  const { id: tenant } = await createTenant(database, { name: "Lists" }, bySystem);
  const files: string[] = [];
  for (let i = 0; i < 5; i++)
    files.push((await insert(tenant, { purpose: i % 2 === 0 ? "batch" : "user_data" })).id);
  const ids = async (page: Parameters<typeof listFiles>[2]) =>
    (await listFiles(database, tenant, page)).map(({ id }) => id);
  expect(await ids({ limit: 10, order: "asc" })).toEqual(files);
  expect(await ids({ limit: 2, order: "desc" })).toEqual([files[4], files[3]]);
  expect(await ids({ limit: 2, order: "desc", after: files[3] as string })).toEqual([files[2], files[1]]);
  expect(await ids({ limit: 2, order: "asc", after: files[1] as string })).toEqual([files[2], files[3]]);
  expect(await ids({ limit: 10, order: "asc", purpose: "batch" })).toEqual([files[0], files[2], files[4]]);
});

test("of ids, those are named that are files of the tenant", async () => {
  const [one, other] = [await insert(mine), await insert(theirs)];
  expect(await neededBlobs(database, mine, [one.id, other.id, newUuid()])).toEqual(new Set([one.id]));
  expect(await neededBlobs(database, mine, [])).toEqual(new Set());
});

test("a file that is refused leaves no audit entry", async () => {
  const id = newUuid();
  await expect(insert(mine, { id, filename: "" })).rejects.toMatchObject({ code: "23514" });
  expect(await audited(id)).toEqual([]);
});
