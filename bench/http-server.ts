// One Fastify server of bench/http.ts in a process of its own: bare, with our metrics, or with fastify-metrics. Tells
// its ports to the process that forked it, and ends with it.
import type { AddressInfo } from "node:net";
import { createLogging } from "@ectus/core";
import { createInstruments, Registry, startExporter } from "@ectus/monitoring";
import { addHttpMetrics } from "@ectus/web-api";
import { type FastifyInstance, fastify } from "fastify";
import type { ServerKind, ServerPorts } from "./http-kinds.ts";

process.once("disconnect", () => process.exit(0));
process.send?.(await start(process.argv[2] as ServerKind));

async function start(kind: ServerKind): Promise<ServerPorts> {
  const app = fastify();
  const metricsPort = await addMetrics(app, kind);
  app.get("/v1/items/:id", async () => ({ object: "item", name: "a thing of the bench" }));
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return { port, metricsPort: kind === "fastify-metrics" ? port : metricsPort };
}

async function addMetrics(app: FastifyInstance, kind: ServerKind): Promise<number | null> {
  switch (kind) {
    case "bare":
      return null;
    case "ours": {
      const registry = new Registry();
      const instruments = createInstruments(registry);
      addHttpMetrics(app, instruments);
      const logging = createLogging({ levels: { default: "error", modules: {} }, format: "json" });
      const exporter = await startExporter({
        registry,
        instruments,
        host: "127.0.0.1",
        port: 0,
        log: logging.module("bench"),
      });
      return Number(new URL(exporter.url as string).port);
    }
    case "fastify-metrics": {
      const { default: plugin } = await import("fastify-metrics");
      await app.register(plugin as never, { endpoint: "/metrics" } as never);
      return null;
    }
  }
}
