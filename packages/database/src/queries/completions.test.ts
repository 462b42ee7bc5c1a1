import { newUuid } from "@ectus/core";
import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newUsage } from "../../../../tests/postgres/account-books.ts";
import { bySystem, newTenant, type TestTenant } from "../../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import type { Database } from "../database.ts";
import {
  type CompletionPage,
  deleteCompletion,
  getCompletion,
  listCompletions,
  listInputMessages,
  updateCompletionMetadata,
} from "./completions.ts";
import { type CompletionRow, type MessageRow, settle } from "./settle.ts";

let opened: OpenTestDatabase;
let database: Database;
let owner: pg.Client;
let mine: TestTenant;
let theirs: TestTenant;

beforeAll(async () => {
  opened = await openTestDatabase();
  ({ database, owner } = opened);
  mine = await newTenant(database);
  theirs = await newTenant(database);
});
afterAll(() => opened.close());

async function store(tenant: TestTenant, more: Partial<CompletionRow> = {}): Promise<string> {
  const tenant_id = tenant.id;
  const id = newUuid();
  const created_at = new Date().toISOString();
  const row: CompletionRow = {
    tenant_id,
    id,
    created_at,
    model: "m",
    metadata: {},
    end_user: null,
    request: { temperature: 0 },
    response: { id },
    nul_replaced: false,
    ...more,
  };
  const message = (position: number, direction: "input" | "output"): MessageRow => ({
    tenant_id,
    completion_id: id,
    position,
    direction,
    role: direction === "input" ? "user" : "assistant",
    body: { content: `message ${position}` },
    finish_reason: direction === "input" ? null : "stop",
    logprobs: null,
  });
  const messages = [
    message(0, "input"),
    message(1, "input"),
    message(2, "input"),
    message(3, "output"),
    message(4, "output"),
  ];
  await settle(database, newUuid(), [
    { usage: newUsage(tenant), completion: { row, messages }, touchKey: false },
  ]);
  return id;
}

test("a stored completion comes back with its choices in order", async () => {
  const id = await store(mine, { metadata: { team: "a" } });
  const { completion, outputs } = await getCompletion(database, mine.id, id);
  expect(completion).toMatchObject({ id, model: "m", metadata: { team: "a" }, request: { temperature: 0 } });
  expect(outputs.map(({ position, role, body }) => [position, role, body])).toEqual([
    [3, "assistant", { content: "message 3" }],
    [4, "assistant", { content: "message 4" }],
  ]);
});

test("input messages are listed in order or backwards, page by page", async () => {
  const id = await store(mine);
  const positions = async (page: Parameters<typeof listInputMessages>[3]) =>
    (await listInputMessages(database, mine.id, id, page)).map(({ position }) => position);
  expect(await positions({ limit: 10, order: "asc" })).toEqual([0, 1, 2]);
  expect(await positions({ limit: 1, order: "asc", after: 0 })).toEqual([1]);
  expect(await positions({ limit: 2, order: "desc", after: 2 })).toEqual([1, 0]);
});

test("completions are listed by age, page by page, by model and by metadata", async () => {
  const tenant = await newTenant(database);
  const ids = [
    await store(tenant, { metadata: { team: "a", env: "test" } }),
    await store(tenant, { model: "other", metadata: { team: "a" } }),
    await store(tenant, { metadata: { team: "b" } }),
  ];
  const list = async (page: Partial<CompletionPage>) =>
    (await listCompletions(database, tenant.id, { limit: 10, order: "asc", ...page })).completions.map(
      ({ completion, outputs }) => {
        expect(outputs).toHaveLength(2);
        return completion.id;
      },
    );
  expect(await list({})).toEqual(ids);
  expect(await list({ order: "desc", limit: 2 })).toEqual([ids[2], ids[1]]);
  expect(await list({ order: "desc", after: ids[1] as string })).toEqual([ids[0]]);
  expect(await list({ after: ids[1] as string })).toEqual([ids[2]]);
  expect(await list({ model: "other" })).toEqual([ids[1]]);
  expect(await list({ metadata: { team: "a" } })).toEqual([ids[0], ids[1]]);
  expect(await list({ metadata: { team: "a", env: "test" } })).toEqual([ids[0]]);
  expect(await list({ model: "none" })).toEqual([]);
});

test("a page of large completions is shorter, so that it fits into memory, and says that more follow", async () => {
  const tenant = await newTenant(database);
  const large = { request: { padding: "x".repeat(12 * 1024 * 1024) } };
  const ids: string[] = [];
  for (const more of [large, large, large, {}]) ids.push(await store(tenant, more));
  const page = async (limit: number, after?: string) => {
    const { completions, hasMore } = await listCompletions(database, tenant.id, {
      limit,
      order: "asc",
      ...(after === undefined ? {} : { after }),
    });
    return { ids: completions.map(({ completion }) => completion.id), hasMore };
  };
  expect(await page(10)).toEqual({ ids: ids.slice(0, 2), hasMore: true });
  expect(await page(10, ids[1])).toEqual({ ids: ids.slice(2), hasMore: false });
  expect(await page(1)).toEqual({ ids: ids.slice(0, 1), hasMore: true });
  expect(await page(10, ids[3])).toEqual({ ids: [], hasMore: false });
  const huge = await store(tenant, { request: { padding: "x".repeat(40 * 1024 * 1024) } });
  expect(await page(10, ids[3])).toEqual({ ids: [huge], hasMore: false });
});

test("metadata is replaced as a whole", async () => {
  const id = await store(mine, { metadata: { a: "1", b: "2" } });
  const { completion } = await updateCompletionMetadata(database, mine.id, id, { c: "3" });
  expect(completion.metadata).toEqual({ c: "3" });
});

test("a deleted completion is gone with its messages, and the audit log says so", async () => {
  const id = await store(mine);
  await deleteCompletion(database, mine.id, id, bySystem);
  const { rows } = await owner.query("select from messages where completion_id = $1", [id]);
  expect(rows).toEqual([]);
  const audit = await owner.query("select action from audit_log where target_id = $1", [id]);
  expect(audit.rows).toEqual([{ action: "completion.deleted" }]);
});

test("another tenant's completion is not_found, and stays as it is", async () => {
  const id = await store(theirs, { metadata: { a: "1" } });
  const notFound = {
    code: "not_found",
    message: `No chat completion with id 'chatcmpl-${id.replaceAll("-", "")}'.`,
  };
  await expect(getCompletion(database, mine.id, id)).rejects.toMatchObject(notFound);
  await expect(updateCompletionMetadata(database, mine.id, id, {})).rejects.toMatchObject(notFound);
  await expect(listInputMessages(database, mine.id, id, { limit: 1, order: "asc" })).rejects.toMatchObject(
    notFound,
  );
  await expect(deleteCompletion(database, mine.id, id, bySystem)).rejects.toMatchObject(notFound);
  expect((await getCompletion(database, theirs.id, id)).completion.metadata).toEqual({ a: "1" });
});
