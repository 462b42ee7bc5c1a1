// A double of an OpenAI-compatible server for tests and benches: it speaks the real protocol over HTTP on a loopback
// port, fails on command, and records what it was asked.
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { chatCompletion, embeddings, sendError, sendJson, sendStream } from "./answers.ts";
import type { Behavior } from "./behavior.ts";

export type { Behavior } from "./behavior.ts";

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
    await behavior.after;
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
