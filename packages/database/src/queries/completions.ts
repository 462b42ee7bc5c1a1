// A tenant's stored chat completions and their messages.
import { EctusError } from "@ectus/core";
import { type Selectable, sql } from "kysely";
import type { Database, TenantTransaction } from "../database.ts";
import type { Completions, Messages } from "../schema.ts";
import { appendAudit } from "./append-audit.ts";
import type { Actor } from "./tenants.ts";

export type CompletionRecord = Selectable<Completions>;
export type MessageRecord = Selectable<Messages>;
export interface StoredCompletion {
  readonly completion: CompletionRecord;
  /** The answer's choices, in order. */
  readonly outputs: readonly MessageRecord[];
}

export interface CompletionPage {
  readonly limit: number;
  readonly order: "asc" | "desc";
  readonly after?: string;
  readonly model?: string;
  /** Only completions whose metadata has all of these pairs. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A page has at least one completion and then as many as fit into this. */
const mostPageBytes = 32 * 1024 * 1024;

/** A page of completions, shorter than its limit where they are large, and whether more follow. */
export function listCompletions(
  database: Database,
  tenantId: string,
  page: CompletionPage,
): Promise<{ readonly completions: readonly StoredCompletion[]; readonly hasMore: boolean }> {
  return database.inTenant(tenantId, async (tx) => {
    let query = tx.selectFrom("completions").where("tenant_id", "=", tenantId);
    if (page.model !== undefined) query = query.where("model", "=", page.model);
    if (page.metadata !== undefined) query = query.where("metadata", "@>", JSON.stringify(page.metadata));
    if (page.after !== undefined) query = query.where("id", page.order === "asc" ? ">" : "<", page.after);
    const found = await query
      .select(["id", bytesOfCompletion.as("bytes")])
      .orderBy("id", page.order)
      .limit(page.limit + 1)
      .execute();
    let bytes = 0;
    const fit = found.slice(0, page.limit).findIndex((row) => {
      bytes += row.bytes;
      return bytes > mostPageBytes;
    });
    const shown = fit === -1 ? Math.min(found.length, page.limit) : Math.max(fit, 1);
    const hasMore = found.length > shown;
    if (shown === 0) return { completions: [], hasMore };
    const rows = await tx
      .selectFrom("completions")
      .selectAll()
      .where("tenant_id", "=", tenantId)
      .where(
        "id",
        "in",
        found.slice(0, shown).map(({ id }) => id),
      )
      .orderBy("id", page.order)
      .execute();
    const outputs = await outputsOf(tx, tenantId, rows);
    return {
      completions: rows.map((completion) => ({ completion, outputs: outputs.get(completion.id) ?? [] })),
      hasMore,
    };
  });
}

// What a listed completion takes in memory, about: the text of its JSON.
const bytesOfCompletion = sql<number>`(
  octet_length(request::text) + octet_length(response::text) + coalesce((
    select sum(octet_length(body::text) + coalesce(octet_length(logprobs::text), 0)) from messages
    where messages.tenant_id = completions.tenant_id and completion_id = completions.id and direction = 'output'
  ), 0))::bigint`;

/** @throws EctusError `not_found` */
export function getCompletion(database: Database, tenantId: string, id: string): Promise<StoredCompletion> {
  return database.inTenant(tenantId, (tx) => findCompletion(tx, tenantId, id));
}

/**
 * Replaces the metadata of a stored completion.
 *
 * @throws EctusError `not_found`
 */
export function updateCompletionMetadata(
  database: Database,
  tenantId: string,
  id: string,
  metadata: Readonly<Record<string, string>>,
): Promise<StoredCompletion> {
  return database.inTenant(tenantId, async (tx) => {
    await tx
      .updateTable("completions")
      .set({ metadata: JSON.stringify(metadata) })
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .execute();
    return findCompletion(tx, tenantId, id);
  });
}

/** The messages that a stored completion answered, in order. @throws EctusError `not_found` */
export function listInputMessages(
  database: Database,
  tenantId: string,
  id: string,
  page: { readonly limit: number; readonly order: "asc" | "desc"; readonly after?: number },
): Promise<MessageRecord[]> {
  return database.inTenant(tenantId, async (tx) => {
    await findCompletion(tx, tenantId, id);
    let query = tx
      .selectFrom("messages")
      .selectAll()
      .where("tenant_id", "=", tenantId)
      .where("completion_id", "=", id)
      .where("direction", "=", "input");
    if (page.after !== undefined)
      query = query.where("position", page.order === "asc" ? ">" : "<", page.after);
    return query.orderBy("position", page.order).limit(page.limit).execute();
  });
}

/** @throws EctusError `not_found` */
export async function deleteCompletion(
  database: Database,
  tenantId: string,
  id: string,
  actor: Actor,
): Promise<void> {
  await database.inTenant(tenantId, async (tx) => {
    const deleted = await tx
      .deleteFrom("completions")
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .returning("id")
      .executeTakeFirst();
    if (deleted === undefined) throw completionNotFound(id);
    await appendAudit(tx, {
      ...actor,
      tenantId,
      action: "completion.deleted",
      target: { type: "completion", id },
    });
  });
}

async function findCompletion(
  tx: TenantTransaction,
  tenantId: string,
  id: string,
): Promise<StoredCompletion> {
  const completion = await tx
    .selectFrom("completions")
    .selectAll()
    .where("tenant_id", "=", tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (completion === undefined) throw completionNotFound(id);
  return { completion, outputs: (await outputsOf(tx, tenantId, [completion])).get(id) ?? [] };
}

async function outputsOf(
  tx: TenantTransaction,
  tenantId: string,
  completions: readonly CompletionRecord[],
): Promise<Map<string, MessageRecord[]>> {
  if (completions.length === 0) return new Map();
  const rows = await tx
    .selectFrom("messages")
    .selectAll()
    .where("tenant_id", "=", tenantId)
    .where(
      "completion_id",
      "in",
      completions.map(({ id }) => id),
    )
    .where("direction", "=", "output")
    .orderBy("completion_id")
    .orderBy("position")
    .execute();
  return Map.groupBy(rows, (row) => row.completion_id);
}

const completionNotFound = (id: string): EctusError =>
  new EctusError("not_found", { what: "chat completion", id: `chatcmpl-${id.replaceAll("-", "")}` });
