// A double of an OpenAI-compatible server for tests and benches: it speaks the real protocol over HTTP on a loopback
// port, fails on command, and records what it was asked.
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** What the upstream does with one request. Everything left out is as a healthy server does it. */
export interface Behavior {
  /** Milliseconds before the headers. */
  readonly delayMs?: number;
  /** Waits for ever: before the headers, or in a stream after the headers or after the first chunk. */
  readonly hang?: "before-headers" | "after-headers" | "mid-stream";
  /** Cuts the connection with a TCP reset: before the headers, after the first chunk, or within the second one. */
  readonly reset?: "before-headers" | "mid-stream" | "half-chunk";
  /** Closes the connection orderly in the middle of the body. */
  readonly truncate?: boolean;
  /** Answers with this status and an error body. */
  readonly status?: number;
  /** The header `Retry-After` of an error answer. */
  readonly retryAfter?: string;
  /** The message of the error body. */
  readonly errorMessage?: string;
  /** Sent with status 200 in place of the JSON answer, or in place of the stream's second chunk. */
  readonly raw?: string;
  /** Content type of the answer. */
  readonly contentType?: string;
  /** false: the answer says no usage. */
  readonly usage?: false | { readonly prompt_tokens: number; readonly completion_tokens: number };
  /** Content of the answer; of a stream one chunk each. */
  readonly content?: readonly string[];
  /** A stream of this many chunks of `chunkText`, as fast as the reader takes them. */
  readonly chunkCount?: number;
  readonly chunkText?: string;
  /** Milliseconds between the chunks of a stream. */
  readonly dripMs?: number;
  /** Writes a stream in pieces of this many bytes, each in a packet of its own. */
  readonly pieceBytes?: number;
  /** Sends this message as an error after the first chunk: as an `error` event, or as data with an error object. */
  readonly errorEvent?: { readonly as: "event" | "data"; readonly message: string };
  /** false: the stream ends without `[DONE]`. */
  readonly done?: false;
  /** false: no chunk carries a finish_reason. */
  readonly finishReason?: false;
}

export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
  /** Resolves when the exchange is over; true if the client went away before the answer was complete. */
  readonly closed: Promise<boolean>;
  /** Bytes of the answer that the client's side has taken so far, or that wait in the kernel. */
  bytesSent(): number;
}

export interface Upstream {
  /** For a provider's `baseUrl`. */
  readonly baseUrl: string;
  /** The last 1,000 requests. */
  readonly requests: readonly RecordedRequest[];
  /** How many requests have come. */
  readonly requestCount: number;
  /** Behaviors of the next requests, in order; after them `always` holds. */
  next(...behaviors: readonly Behavior[]): void;
  /** The behavior of requests that have none of their own. */
  always(behavior: Behavior): void;
  /** The behavior of requests for this model; it comes before `always` and after `next`. */
  forModel(model: string, behavior: Behavior): void;
  /** The oldest request that this has not returned yet; waits for one, 10 s at most. */
  nextRequest(): Promise<RecordedRequest>;
  /** Connections that are open now. */
  readonly openConnections: number;
  /** Connections that were ever opened. */
  readonly connectionCount: number;
  /** Resolves when no connection is open; waits 10 s at most. */
  allClosed(): Promise<void>;
  /** Stops listening and ends all connections. */
  close(): Promise<void>;
}

const waitMs = 10_000;
const keptRequests = 1000;
const resetAfterMs = 50;

export async function startUpstream(initial: Behavior = {}): Promise<Upstream> {
  const requests: RecordedRequest[] = [];
  const unseen: RecordedRequest[] = [];
  const waiters: ((request: RecordedRequest) => void)[] = [];
  const scripted: Behavior[] = [];
  const byModel = new Map<string, Behavior>();
  const sockets = new Set<Socket>();
  const timers = new Set<NodeJS.Timeout>();
  let fallback = initial;
  let requestCount = 0;
  let connectionCount = 0;

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });
  server.keepAliveTimeout = 60_000;
  server.on("connection", (socket) => {
    connectionCount += 1;
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("close", () => sockets.delete(socket));
    // A client that goes away resets the connection: that is what some tests are about.
    socket.on("error", () => {});
  });

  function pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      timers.delete(timer);
      resolve();
    }, ms);
    timers.add(timer);
    return promise;
  }

  function record(request: IncomingMessage, response: ServerResponse, body: Record<string, unknown>): void {
    const { socket } = request;
    const before = socket.bytesWritten;
    const recorded: RecordedRequest = {
      method: request.method ?? "",
      path: request.url ?? "",
      headers: request.headers,
      body,
      closed: new Promise((resolve) => {
        response.on("close", () => resolve(!response.writableFinished));
      }),
      bytesSent: () => socket.bytesWritten - before - socket.writableLength,
    };
    requestCount += 1;
    requests.push(recorded);
    if (requests.length > keptRequests) requests.shift();
    const waiter = waiters.shift();
    if (waiter !== undefined) {
      waiter(recorded);
    } else {
      unseen.push(recorded);
      if (unseen.length > keptRequests) unseen.shift();
    }
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const text = Buffer.concat(parts).toString("utf8");
    const body = (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
    record(request, response, body);
    const behavior = scripted.shift() ?? byModel.get(String(body.model)) ?? fallback;
    if (behavior.delayMs !== undefined) await pause(behavior.delayMs);
    if (behavior.hang === "before-headers") return;
    if (behavior.reset === "before-headers") {
      request.socket.resetAndDestroy();
      return;
    }
    if (behavior.status !== undefined && behavior.status !== 200) {
      sendError(response, behavior, behavior.status);
    } else if (
      request.url === "/v1/chat/completions" &&
      body.stream === true &&
      behavior.contentType === undefined
    ) {
      await sendStream(request, response, body, behavior, pause);
    } else if (request.url === "/v1/chat/completions") {
      sendJson(response, chatCompletion(body, behavior), behavior);
    } else if (request.url === "/v1/embeddings") {
      sendJson(response, embeddings(body, behavior), behavior);
    } else if (request.url === "/v1/models") {
      sendJson(
        response,
        { object: "list", data: [{ id: "double", object: "model", created: 1, owned_by: "double" }] },
        {},
      );
    } else {
      sendError(response, { errorMessage: `Unknown URL ${request.url}` }, 404);
    }
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;

  return {
    baseUrl: `http://127.0.0.1:${port}/v1`,
    requests,
    get requestCount() {
      return requestCount;
    },
    next(...behaviors) {
      scripted.push(...behaviors);
    },
    always(behavior) {
      fallback = behavior;
    },
    forModel(model, behavior) {
      byModel.set(model, behavior);
    },
    nextRequest() {
      const request = unseen.shift();
      if (request !== undefined) return Promise.resolve(request);
      const { promise, resolve, reject } = Promise.withResolvers<RecordedRequest>();
      const timer = setTimeout(() => {
        waiters.splice(waiters.indexOf(waiter), 1);
        reject(new Error(`No request came within ${waitMs} ms.`));
      }, waitMs);
      const waiter = (found: RecordedRequest): void => {
        clearTimeout(timer);
        resolve(found);
      };
      waiters.push(waiter);
      return promise;
    },
    get openConnections() {
      return sockets.size;
    },
    get connectionCount() {
      return connectionCount;
    },
    async allClosed() {
      const signal = AbortSignal.timeout(waitMs);
      for (const socket of sockets) {
        if (!socket.destroyed) await once(socket, "close", { signal });
      }
    },
    async close() {
      for (const timer of timers) clearTimeout(timer);
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function sendError(response: ServerResponse, behavior: Behavior, status: number): void {
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

function sendJson(response: ServerResponse, value: object, behavior: Behavior): void {
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

function chatCompletion(body: Record<string, unknown>, behavior: Behavior): object {
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

function embeddings(body: Record<string, unknown>, behavior: Behavior): object {
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

async function sendStream(
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
