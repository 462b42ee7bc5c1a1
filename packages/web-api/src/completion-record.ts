// What is stored of a chat completion with `store: true`: rows for the request's messages and the answer's choices.
import type { ChatChoice, ChatCompletion } from "@ectus/ai-engine";
import { EctusError } from "@ectus/core";
import type { CompletionRow, MessageRow, Settlement } from "@ectus/database";
import type { ChatBody } from "./chat-body.ts";
import { refuseUnstorable, replaceUnstorable } from "./storable-text.ts";

/** An answer waits in memory until it is whole and can be stored, so it may have as much as a request. */
export const mostStoredBytes = 16 * 1024 * 1024;
export const tooLargeToStore = `its answer is more than can be stored, ${mostStoredBytes} bytes; send the request without 'store'`;
// Lists of stored completions repeat these fields for each.
const mostOtherBytes = 1024 * 1024;

/**
 * Refuses, before a model is asked, what could not be stored.
 *
 * @param bodyBytes how long the body was
 * @throws EctusError `invalid_text`, `invalid_request`
 */
export function checkStorable(body: ChatBody, bodyBytes: number): void {
  refuseUnstorable(body);
  if (bodyBytes <= mostOtherBytes) return;
  const { messages, ...others } = body;
  if (Buffer.byteLength(JSON.stringify(others)) <= mostOtherBytes) return;
  const reason = `With 'store', the fields beside 'messages' may have ${mostOtherBytes} bytes together.`;
  throw new EctusError("invalid_request", { param: "store", reason });
}

/**
 * The rows of a completion.
 *
 * @throws EctusError `upstream_error` if the answer lacks what a completion has, or is too large
 */
export function completionRecord(options: {
  readonly provider: string;
  readonly tenantId: string;
  readonly id: string;
  readonly createdAt: Date;
  readonly body: ChatBody;
  readonly completion: ChatCompletion;
}): NonNullable<Settlement["completion"]> {
  const { tenantId, id, createdAt, body } = options;
  const { messages, metadata, ...request } = body;
  const { value: completion, replaced } = replaceUnstorable(options.completion);
  const { choices, ...response } = completion;
  const row: CompletionRow = {
    tenant_id: tenantId,
    id,
    created_at: createdAt.toISOString(),
    model: body.model,
    metadata: metadata ?? {},
    // What OpenAI calls it now, and what older clients send.
    end_user: body.safety_identifier ?? body.user ?? null,
    request,
    response,
    nul_replaced: replaced,
  };
  const input = messages.map(
    (message, position): MessageRow => ({
      tenant_id: tenantId,
      completion_id: id,
      position,
      direction: "input",
      role: message.role,
      body: message,
      finish_reason: null,
      logprobs: null,
    }),
  );
  if (!choices.every(({ message }) => typeof message === "object" && message !== null)) {
    throw new EctusError("upstream_error", {
      provider: options.provider,
      reason: "its answer has a choice without a message",
    });
  }
  if (JSON.stringify(completion).length > mostStoredBytes) {
    throw new EctusError("upstream_error", {
      provider: options.provider,
      reason: tooLargeToStore,
    });
  }
  const output = choices.map(
    (choice, index): MessageRow => ({
      tenant_id: tenantId,
      completion_id: id,
      position: messages.length + index,
      direction: "output",
      role: choice.message.role ?? "assistant",
      body: choice.message,
      finish_reason: choice.finish_reason ?? null,
      logprobs: (choice.logprobs as object | null | undefined) ?? null,
    }),
  );
  return { row, messages: [...input, ...output] };
}

/** The choices of a stored completion, from its rows. */
export function storedChoices(
  rows: readonly {
    readonly body: unknown;
    readonly finish_reason: string | null;
    readonly logprobs: unknown;
  }[],
): ChatChoice[] {
  return rows.map(({ body, finish_reason, logprobs }, index) => ({
    index,
    message: body as ChatChoice["message"],
    finish_reason: finish_reason as ChatChoice["finish_reason"],
    logprobs,
  }));
}
