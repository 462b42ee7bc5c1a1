import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { createInstruments, noInstruments, Registry } from "@ectus/monitoring";
import { type FastifyInstance, fastify } from "fastify";
import { afterEach, expect, test } from "vitest";
import { addGatewayOverhead, inferenceAnswered } from "./gateway-overhead.ts";
import { addHttpMetrics } from "./metrics.ts";

const workMs = 20;
// Far more than the rest, so that counting one wait in shows.
const waitMs = 400;

let app: FastifyInstance;
let registry: Registry;
afterEach(() => app.close());

async function start(instruments = createInstruments(registry)): Promise<number> {
  app = fastify() as unknown as FastifyInstance;
  addHttpMetrics(app, instruments);
  addGatewayOverhead(app, instruments);
  app.post("/whole", async (_request, reply) => {
    work();
    const before = performance.now();
    await delay(waitMs);
    inferenceAnswered(reply, {
      operation: "embeddings",
      providerMs: performance.now() - before,
      clientMs: 0,
    });
    // Serialization is part of the making.
    return {
      toJSON() {
        work();
        return { ok: true };
      },
    };
  });
  app.post("/stream", async (_request, reply) => {
    reply.hijack();
    work();
    const before = performance.now();
    await delay(waitMs);
    const between = performance.now();
    await delay(waitMs);
    reply.raw.end("done");
    inferenceAnswered(reply, {
      operation: "chat",
      providerMs: between - before,
      clientMs: performance.now() - between,
    });
  });
  app.post("/failed", async () => Promise.reject(new Error("failed")));
  await app.listen({ host: "127.0.0.1", port: 0 });
  return (app.server.address() as AddressInfo).port;
}

function work(): void {
  const end = performance.now() + workMs;
  while (performance.now() < end);
}

/** Sends a request whose body comes after a while, and waits for the end of its answer. */
async function post(port: number, path: string): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n`,
  );
  await delay(waitMs);
  socket.write("{}");
  socket.resume();
  await once(socket, "close");
}

async function overhead(of: "sum" | "count"): Promise<Record<string, number>> {
  const text = await registry.metrics();
  return Object.fromEntries(
    [
      ...text.matchAll(new RegExp(`^ai_gateway_overhead_seconds_${of}\\{operation="(\\w+)"\\} (\\S+)`, "gm")),
    ].map(([, operation = "", value]) => [operation, Number(value)]),
  );
}

test("the overhead is the time that was spent neither waiting for the body, the provider, nor the client", async () => {
  registry = new Registry();
  const port = await start();
  await Promise.all([post(port, "/whole"), post(port, "/failed")]);
  await post(port, "/stream");
  expect(await overhead("count")).toEqual({ embeddings: 1, chat: 1 });
  const { embeddings = 0, chat = 0 } = await overhead("sum");
  expect(embeddings * 1_000).toBeGreaterThanOrEqual(workMs * 2);
  expect(embeddings * 1_000).toBeLessThan(waitMs);
  expect(chat * 1_000).toBeGreaterThanOrEqual(workMs);
  expect(chat * 1_000).toBeLessThan(waitMs);
});

test("without metrics nothing is measured", async () => {
  registry = new Registry();
  const port = await start(noInstruments);
  await post(port, "/whole");
  await post(port, "/stream");
  expect(await overhead("count")).toEqual({});
});
