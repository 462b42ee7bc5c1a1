// The double's answers: well-formed ones, and those that fail as a behavior says.
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Behavior } from "./behavior.ts";

const resetAfterMs = 50;

export function sendError(response: ServerResponse, behavior: Behavior, status: number): void {
  const message = behavior.errorMessage ?? `The double answers with ${status}.`;
  const body = JSON.stringify({
    error: { message, type: "double_error", param: null, code: `double_${status}` },
  });
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...(behavior.retryAfter === undefined ? {} : { "retry-after": behavior.retryAfter }),
  });
  response.end(body);
}

export function sendJson(response: ServerResponse, value: object, behavior: Behavior): void {
  const body = behavior.raw ?? JSON.stringify(value);
  response.writeHead(200, {
    "content-type": behavior.contentType ?? "application/json",
    "content-length": Buffer.byteLength(body),
  });
  if (behavior.truncate) {
    response.write(body.slice(0, body.length / 2), () => response.destroy());
    return;
  }
  response.end(body);
}

function usageOf({ usage }: Behavior): object | undefined {
  if (usage === false) return undefined;
  const { prompt_tokens, completion_tokens } = usage ?? { prompt_tokens: 9, completion_tokens: 3 };
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

const defaultContent = ["Hello", ",", " world"];

export function chatCompletion(body: Record<string, unknown>, behavior: Behavior): object {
  return {
    id: "chatcmpl-double",
    object: "chat.completion",
    created: 1_700_000_000,
    model: body.model,
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: (behavior.content ?? defaultContent).join("") },
        finish_reason: "stop",
      },
    ],
    usage: usageOf(behavior),
  };
}

export function embeddings(body: Record<string, unknown>, behavior: Behavior): object {
  const inputs = Array.isArray(body.input) && typeof body.input[0] !== "number" ? body.input : [body.input];
  const vector = [0.25, -0.5, 1];
  const embedding =
    body.encoding_format === "base64"
      ? Buffer.from(Float32Array.from(vector).buffer).toString("base64")
      : vector;
  const usage = usageOf(behavior) as { prompt_tokens: number } | undefined;
  return {
    object: "list",
    data: inputs.map((_input, index) => ({ object: "embedding", index, embedding })),
    model: body.model,
    usage: usage && { prompt_tokens: usage.prompt_tokens, total_tokens: usage.prompt_tokens },
  };
}

export async function sendStream(
  request: IncomingMessage,
  response: ServerResponse,
  body: Record<string, unknown>,
  behavior: Behavior,
  pause: (ms: number) => Promise<void>,
): Promise<void> {
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
  });
  const gone = once(response, "close");
  response.flushHeaders();
  if (behavior.hang === "after-headers") return;
  const write = async (text: string): Promise<void> => {
    if (response.destroyed) return;
    const bytes = Buffer.from(text, "utf8");
    const size = behavior.pieceBytes ?? bytes.length;
    for (let start = 0; start < bytes.length; start += size) {
      const room = response.write(bytes.subarray(start, start + size));
      if (!room && !response.destroyed) await Promise.race([once(response, "drain"), gone]);
      if (behavior.pieceBytes !== undefined) await new Promise(setImmediate);
    }
  };
  const chunk = (choices: readonly object[], more: object = {}): string =>
    `data: ${JSON.stringify({ id: "chatcmpl-double", object: "chat.completion.chunk", created: 1_700_000_000, model: body.model, choices, ...more })}\n\n`;
  const delta = (content: object, finish: string | null = null): string =>
    chunk([{ index: 0, delta: content, finish_reason: finish }]);

  let sent = 0;
  for (const content of contents(behavior)) {
    if (response.destroyed) return;
    if (sent === 1) {
      if (behavior.hang === "mid-stream") return;
      await behavior.restAfter;
      // A reset throws away what the other side has not read yet: it gets some time to read the first chunk.
      if (behavior.reset !== undefined) await pause(resetAfterMs);
      if (behavior.reset === "mid-stream") {
        request.socket.resetAndDestroy();
        return;
      }
      if (behavior.reset === "half-chunk" || behavior.truncate) {
        const half = delta({ content }).slice(0, 40);
        response.write(half, () => {
          if (behavior.truncate) response.destroy();
          else request.socket.resetAndDestroy();
        });
        return;
      }
      if (behavior.raw !== undefined) await write(behavior.raw);
      if (behavior.errorEvent !== undefined) {
        const error = JSON.stringify({
          error: { message: behavior.errorEvent.message, type: "server_error" },
        });
        await write(`${behavior.errorEvent.as === "event" ? "event: error\n" : ""}data: ${error}\n\n`);
        response.end();
        return;
      }
    }
    if (behavior.dripMs !== undefined && sent > 0) await pause(behavior.dripMs);
    await write(delta(sent === 0 ? { role: "assistant", content } : { content }));
    sent += 1;
  }
  if (behavior.finishReason !== false) await write(delta({}, "stop"));
  const options = body.stream_options as { include_usage?: boolean } | undefined;
  const usage = usageOf(behavior);
  if (options?.include_usage && usage !== undefined) await write(chunk([], { usage }));
  if (behavior.done !== false) await write("data: [DONE]\n\n");
  response.end();
}

function* contents({ content, chunkCount, chunkText = "x" }: Behavior): Generator<string> {
  if (chunkCount === undefined) yield* content ?? defaultContent;
  else for (let index = 0; index < chunkCount; index += 1) yield chunkText;
}
