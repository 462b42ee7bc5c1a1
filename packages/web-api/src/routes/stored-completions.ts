// Chat completions that were stored on request: list, read, change metadata, delete.

import { EctusError } from "@ectus/core";
import {
  type Database,
  deleteCompletion,
  getCompletion,
  listCompletions,
  listInputMessages,
  type StoredCompletion,
  updateCompletionMetadata,
} from "@ectus/database";
import Type from "typebox";
import type { App } from "../app.ts";
import { actorOf, callerOf } from "../caller.ts";
import { ChatCompletionAnswer, Metadata } from "../chat-body.ts";
import { storedChoices } from "../completion-record.ts";
import { parsePublicId, publicId } from "../public-ids.ts";
import { errorAnswers, Page, pageQuery, toPage } from "../schemas.ts";
import { refuseUnstorable } from "../storable-text.ts";

const IdParams = Type.Object({ id: Type.String() });
const one = { "2xx": ChatCompletionAnswer, ...errorAnswers };
const StoredAnswer = Type.Unsafe<object & { id: string }>(ChatCompletionAnswer);
const Deleted = Type.Object({
  object: Type.Literal("chat.completion.deleted"),
  id: Type.String(),
  deleted: Type.Literal(true),
});
const Message = Type.Unsafe<object & { id: string }>(
  Type.Object({ id: Type.String() }, { additionalProperties: true }),
);

export function addStoredCompletions(app: App, database: Database): void {
  const config = { scope: "inference" } as const;

  app.get(
    "/v1/chat/completions",
    {
      config,
      schema: {
        tags: ["Chat"],
        summary: "Lists stored completions; `metadata[key]=value` filters",
        querystring: Type.Object(
          { ...pageQuery(100, 20), model: Type.Optional(Type.String({ maxLength: 256 })) },
          { additionalProperties: true },
        ),
        response: { "2xx": Page(StoredAnswer), ...errorAnswers },
      },
    },
    async (request) => {
      const { limit, order, after, model } = request.query;
      if (model !== undefined) refuseUnstorable(model, "model");
      const { completions, hasMore } = await listCompletions(database, callerOf(request).tenantId, {
        limit,
        order,
        ...(after === undefined ? {} : { after: uuidOf(after) }),
        ...(model === undefined ? {} : { model }),
        ...metadataFilter(request.query),
      });
      return { ...toPage(completions.map(toCompletion), limit), has_more: hasMore };
    },
  );

  app.get(
    "/v1/chat/completions/:id",
    {
      config,
      schema: { tags: ["Chat"], summary: "Returns a stored completion", params: IdParams, response: one },
    },
    async (request) =>
      toCompletion(await getCompletion(database, callerOf(request).tenantId, uuidOf(request.params.id))),
  );

  app.post(
    "/v1/chat/completions/:id",
    {
      config,
      schema: {
        tags: ["Chat"],
        summary: "Replaces the metadata of a stored completion",
        params: IdParams,
        body: Type.Object({ metadata: Type.Union([Metadata, Type.Null()]) }),
        response: one,
      },
    },
    async (request) => {
      const metadata = request.body.metadata ?? {};
      refuseUnstorable(metadata, "metadata");
      const id = uuidOf(request.params.id);
      return toCompletion(await updateCompletionMetadata(database, callerOf(request).tenantId, id, metadata));
    },
  );

  app.delete(
    "/v1/chat/completions/:id",
    {
      config,
      schema: {
        tags: ["Chat"],
        summary: "Deletes a stored completion",
        params: IdParams,
        response: { "2xx": Deleted, ...errorAnswers },
      },
    },
    async (request) => {
      const { id } = request.params;
      await deleteCompletion(database, callerOf(request).tenantId, uuidOf(id), actorOf(request));
      return { object: "chat.completion.deleted" as const, id, deleted: true as const };
    },
  );

  app.get(
    "/v1/chat/completions/:id/messages",
    {
      config,
      schema: {
        tags: ["Chat"],
        summary: "Lists the messages that a stored completion answered",
        params: IdParams,
        querystring: Type.Object({
          ...pageQuery(100, 20),
          order: Type.Union([Type.Literal("asc"), Type.Literal("desc")], { default: "asc" }),
        }),
        response: { "2xx": Page(Message), ...errorAnswers },
      },
    },
    async (request) => {
      const { limit, order, after } = request.query;
      const completionId = request.params.id;
      const rows = await listInputMessages(database, callerOf(request).tenantId, uuidOf(completionId), {
        limit: limit + 1,
        order,
        ...(after === undefined ? {} : { after: positionOf(completionId, after) }),
      });
      return toPage(
        rows.map(({ position, body }) => ({ ...(body as object), id: `${completionId}-${position}` })),
        limit,
      );
    },
  );
}

function toCompletion({ completion, outputs }: StoredCompletion) {
  const { id, created_at, model, metadata, request, response } = completion;
  return {
    ...(request as object),
    ...(response as object),
    id: publicId("chatcmpl-", id),
    object: "chat.completion",
    created: Math.floor(created_at.getTime() / 1_000),
    model,
    metadata,
    choices: storedChoices(outputs),
  };
}

function uuidOf(id: string): string {
  const uuid = parsePublicId("chatcmpl-", id);
  if (uuid === undefined) throw new EctusError("not_found", { what: "chat completion", id });
  return uuid;
}

function positionOf(completionId: string, messageId: string): number {
  const position = messageId.startsWith(`${completionId}-`) ? messageId.slice(completionId.length + 1) : "";
  if (!/^\d{1,6}$/.test(position)) throw new EctusError("not_found", { what: "message", id: messageId });
  return Number(position);
}

/** OpenAI's clients write the filter as `metadata[key]=value`. */
function metadataFilter(query: Readonly<Record<string, unknown>>): { metadata?: Record<string, string> } {
  const pairs = Object.entries(query).flatMap(([name, value]): [string, string][] => {
    const key = /^metadata\[(.{1,64})\]$/s.exec(name)?.[1];
    return key !== undefined && typeof value === "string" ? [[key, value]] : [];
  });
  if (pairs.length === 0) return {};
  const metadata = Object.fromEntries(pairs);
  refuseUnstorable(metadata, "metadata");
  return { metadata };
}
