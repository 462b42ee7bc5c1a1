// Stands in for the vendor of models in a drill, since a vendor cannot be made to fail for practice. It speaks OpenAI's
// protocol over HTTP on loopback, streams included, and fails on command. Part of `ectus drill`, and of nothing that
// serves customers.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** What is wrong with the vendor. `every` says which calls it meets: 1 all of them, 25 each 25th. */
export type UpstreamFault =
  | { readonly kind: "error"; readonly status: number; readonly every: number }
  | { readonly kind: "broken-stream"; readonly every: number }
  | { readonly kind: "slow"; readonly beforeMs: number }
  | { readonly kind: "refused" };

export interface Upstream {
  /** For a provider's `baseUrl`. */
  readonly baseUrl: string;
  /** Breaks it, or mends it with undefined. */
  setFault(fault: UpstreamFault | undefined): Promise<void>;
  close(): Promise<void>;
}

const host = "127.0.0.1";
const words = ["This ", "is ", "a ", "drill", "."];
// The other side reads the first chunk before the cut: a reset throws away what it has not read.
const cutAfterMs = 30;
const mostBytes = 1_048_576;

interface ChatCall {
  readonly model?: unknown;
  readonly stream?: unknown;
  readonly stream_options?: { readonly include_usage?: unknown } | null;
}

export async function startUpstream(): Promise<Upstream> {
  const sockets = new Set<Socket>();
  const closing = new AbortController();
  let fault: UpstreamFault | undefined;
  let calls = 0;
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  server.keepAliveTimeout = 60_000;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === "GET" && request.url === "/v1/models") {
      sendJson(response, 200, { object: "list", data: [] });
      return;
    }
    if (request.method !== "POST" || request.url !== "/v1/chat/completions") {
      sendJson(response, 404, errorBody(`There is no ${request.method} ${request.url} here.`));
      return;
    }
    const call = await readCall(request);
    calls += 1;
    const now = fault;
    if (now?.kind === "slow") await delay(now.beforeMs, undefined, { signal: closing.signal });
    if (now?.kind === "error" && calls % now.every === 0) {
      sendJson(response, now.status, errorBody("The vendor is broken: this is a drill."));
    } else if (call.stream === true) {
      await sendStream(response, call, now?.kind === "broken-stream" && calls % now.every === 0);
    } else {
      sendJson(response, 200, completion(call));
    }
  }

  async function listen(port: number): Promise<number> {
    server.listen(port, host);
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  }

  async function stopListening(): Promise<void> {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  }

  const port = await listen(0);
  return {
    baseUrl: `http://${host}:${port}/v1`,
    async setFault(next) {
      fault = next;
      if (next?.kind === "refused") await stopListening();
      else if (!server.listening) await listen(port);
    },
    async close() {
      closing.abort();
      await stopListening();
    },
  };
}

async function readCall(request: IncomingMessage): Promise<ChatCall> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > mostBytes) throw new Error("the request is larger than a drill sends");
    parts.push(part);
  }
  return JSON.parse(Buffer.concat(parts).toString("utf8")) as ChatCall;
}

const usage = { prompt_tokens: 8, completion_tokens: words.length, total_tokens: 8 + words.length };

function completion({ model }: ChatCall): object {
  const message = { role: "assistant", content: words.join("") };
  return {
    id: "chatcmpl-drill",
    object: "chat.completion",
    created: Math.floor(Date.now() / 1_000),
    model,
    choices: [{ index: 0, message, finish_reason: "stop" }],
    usage,
  };
}

async function sendStream(response: ServerResponse, call: ChatCall, isCut: boolean): Promise<void> {
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
  });
  const chunk = (choices: readonly object[], more: object = {}): void => {
    const body = {
      id: "chatcmpl-drill",
      object: "chat.completion.chunk",
      created: Math.floor(Date.now() / 1_000),
      model: call.model,
      choices,
      ...more,
    };
    response.write(`data: ${JSON.stringify(body)}\n\n`);
  };
  const piece = (delta: object, finish: string | null = null): void =>
    chunk([{ index: 0, delta, finish_reason: finish }]);
  for (const [index, content] of words.entries()) {
    piece(index === 0 ? { role: "assistant", content } : { content });
    if (isCut) {
      await delay(cutAfterMs);
      response.socket?.resetAndDestroy();
      return;
    }
  }
  piece({}, "stop");
  if (call.stream_options?.include_usage === true) chunk([], { usage });
  response.end("data: [DONE]\n\n");
}

const errorBody = (message: string): object => ({
  error: { message, type: "server_error", param: null, code: null },
});

function sendJson(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}
