// A mock upstream as cheap as can be, in its own process: a fixed chat completion, or a stream whose first chunk goes
// out at once. Sends its port to the process that forked it, and ends with it.
import { createServer, type Socket } from "node:net";
import { heldUser } from "./requests.ts";
import { createMessageReader } from "./wire.ts";

const restAfterMs = 3;
const heldChunkEveryMs = 250;
const heldForMs = 15_000;
const id = "chatcmpl-00000000000000000000000000000000";
const model = "bench-upstream";
const text =
  "A gateway stands between a client and the models that it may use: it checks who asks, counts what is used, and passes the answer on.";

const usage = { prompt_tokens: 57, completion_tokens: 29, total_tokens: 86 };
const completion = JSON.stringify({
  id,
  object: "chat.completion",
  created: 1_700_000_000,
  model,
  choices: [
    { index: 0, message: { role: "assistant", content: text }, logprobs: null, finish_reason: "stop" },
  ],
  usage,
  system_fingerprint: "fp_bench",
});
const answer = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${completion.length}\r\n\r\n${completion}`,
);

const chunk = (choices: readonly object[], more: object = {}): string =>
  JSON.stringify({ id, object: "chat.completion.chunk", created: 1_700_000_000, model, choices, ...more });
const delta = (content: string): string => chunk([{ index: 0, delta: { content }, finish_reason: null }]);
const framed = (event: string): string => `${(event.length + 8).toString(16)}\r\ndata: ${event}\n\n\r\n`;

const streamStart = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${framed(
    chunk([{ index: 0, delta: { role: "assistant", content: "A" }, finish_reason: null }]),
  )}`,
);
const heldChunk = Buffer.from(framed(delta(" word")));
const last = framed(chunk([{ index: 0, delta: {}, finish_reason: "stop" }]));
const end = (withUsage: boolean): string =>
  `${last}${withUsage ? framed(chunk([], { usage })) : ""}${framed("[DONE]")}0\r\n\r\n`;
const words = text
  .split(" ")
  .map((word) => framed(delta(` ${word}`)))
  .join("");
const rest = { withUsage: Buffer.from(words + end(true)), plain: Buffer.from(words + end(false)) };
const heldEnd = { withUsage: Buffer.from(end(true)), plain: Buffer.from(end(false)) };

interface Held {
  readonly socket: Socket;
  readonly until: number;
  readonly end: Buffer;
}

const held = new Set<Held>();

function respond(socket: Socket, body: string): void {
  if (!/"stream": *true/.test(body)) {
    socket.write(answer);
    return;
  }
  socket.write(streamStart);
  const kind = /"include_usage": *true/.test(body) ? "withUsage" : "plain";
  if (body.includes(heldUser)) {
    held.add({ socket, until: performance.now() + heldForMs, end: heldEnd[kind] });
  } else {
    setTimeout(() => socket.write(rest[kind]), restAfterMs);
  }
}

setInterval(() => {
  const now = performance.now();
  for (const one of held) {
    if (one.socket.destroyed) {
      held.delete(one);
    } else if (now > one.until) {
      one.socket.write(one.end);
      held.delete(one);
    } else {
      one.socket.write(heldChunk);
    }
  }
}, heldChunkEveryMs);

const server = createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {});
  socket.on(
    "data",
    createMessageReader({ keepBody: true, onMessage: (_head, body) => respond(socket, body) }),
  );
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 1_024 }, () => {
  const address = server.address();
  process.send?.(typeof address === "object" && address !== null ? address.port : 0);
});
process.once("disconnect", () => process.exit(0));
