// A server whose requests are observed as those of the API are, with routes that answer in all ways, for the tests of the
// observing.
import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { createLogging, type Logging } from "@ectus/core";
import { createInstruments, Registry } from "@ectus/monitoring";
import { addObservability, type ObservabilityOptions } from "@ectus/web-api";
import { type FastifyInstance, fastify } from "fastify";
import { type RecordedTraces, recordTraces } from "../monitoring/recorded-traces.ts";
import { until } from "../postgres/until.ts";

export interface MeasuredServer extends AsyncDisposable {
  readonly app: FastifyInstance;
  readonly registry: Registry;
  readonly logging: Logging;
  readonly traces: RecordedTraces;
  /** Lines of the log so far, with their line feeds. */
  readonly lines: string[];
  /** The access lines among them. */
  accesses(): Record<string, unknown>[];
  client(host?: string): Promise<Client>;
  /** The values of a metric by its labels, as they stand in a scrape. */
  values(name: string): Promise<Record<string, number>>;
  /** The sum of a metric's values. */
  total(name: string): Promise<number>;
  /** Resolves when so many requests were counted. */
  counted(count: number): Promise<void>;
}

export interface Client {
  readonly socket: Socket;
  received: string;
  send(text: string): void;
  until(pattern: RegExp): Promise<void>;
}

export interface MeasuredServerOptions extends Partial<ObservabilityOptions> {
  readonly host?: string;
  /** Share of traces that are kept by chance; none by default. */
  readonly sampleRatio?: number;
  readonly addMoreRoutes?: (app: FastifyInstance) => void;
}

export async function startMeasuredServer({
  host = "127.0.0.1",
  sampleRatio = 0,
  addMoreRoutes,
  ...options
}: MeasuredServerOptions = {}): Promise<MeasuredServer> {
  const registry = new Registry();
  const lines: string[] = [];
  const logging = createLogging({
    levels: { default: "info", modules: {} },
    format: "json",
    destination: { write: (line) => void lines.push(line) },
  });
  const traces = recordTraces(sampleRatio);
  const app = fastify({
    routerOptions: { ignoreTrailingSlash: true },
    frameworkErrors: ({ statusCode = 500 }, request, reply) => {
      request.server.observeUnrouted(request, reply);
      reply.raw.writeHead(statusCode, { "x-request-id": request.id }).end();
    },
  }) as unknown as FastifyInstance;
  addObservability(app, {
    logging,
    instruments: createInstruments(registry),
    tracing: traces.tracing,
    traceTrustedPeers: [],
    slowRequestMs: 60_000,
    slowInferenceMs: 60_000,
    logSample: new Map(),
    ...options,
  });
  addRoutes(app);
  addMoreRoutes?.(app);
  await app.listen({ host, port: 0 });
  const { port } = app.server.address() as AddressInfo;

  async function values(name: string): Promise<Record<string, number>> {
    const text = await registry.metrics();
    const lines = text
      .split("\n")
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    return Object.fromEntries(
      lines.map((line) => {
        const [, labels = "", value] = /^[^{ ]+(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
        return [labels.replaceAll(/\w+="([^"]*)"/g, "$1").replaceAll(",", " "), Number(value)];
      }),
    );
  }
  const total = async (name: string): Promise<number> =>
    Object.values(await values(name)).reduce((sum, value) => sum + value, 0);

  return {
    app,
    registry,
    logging,
    traces,
    lines,
    accesses: () => lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "request"),
    client: (address = "127.0.0.1") => connectTo(port, address),
    values,
    total,
    counted: (count) => until(async () => (await total("http_requests_total")) === count),
    async [Symbol.asyncDispose]() {
      app.server.closeAllConnections();
      await app.close();
      await traces.tracing.close();
    },
  };
}

function addRoutes(app: FastifyInstance): void {
  app.addContentTypeParser("text/plain", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.get("/small/:id", async () => ({ ok: true }));
  app.post("/echo", async (request) => request.body);
  app.get("/chunked", (_request, reply) => {
    reply.hijack();
    reply.raw.write("a");
    setTimeout(() => reply.raw.end("b".repeat(70_000)), 10);
  });
  app.get("/empty", async (_request, reply) => reply.status(204).send());
  app.get("/unchanged", async (_request, reply) => reply.status(304).send());
  app.get("/broken", async () => Promise.reject(new Error("broken")));
  app.get("/hang", () => new Promise(() => {}));
  app.get("/many", async (_request, reply) => reply.send(Readable.from(manyChunks())));
  app.post(
    "/refused",
    { onRequest: async (_request, reply) => reply.status(401).send("no") },
    async () => "",
  );
  app.route({ method: ["PUT", "DELETE"], url: "/several", handler: async () => "x" });
}

function* manyChunks(): Generator<Buffer> {
  for (let count = 0; count < 1_024; count += 1) yield Buffer.alloc(64 * 1024);
}

async function connectTo(port: number, host: string): Promise<Client> {
  const socket = connect(port, host);
  socket.setEncoding("latin1").on("error", () => {});
  await once(socket, "connect");
  const made: Client = {
    socket,
    received: "",
    send: (text) => void socket.write(text, "latin1"),
    until: (pattern) => until(() => pattern.test(made.received)),
  };
  socket.on("data", (text) => {
    made.received += text;
  });
  return made;
}

/** A request as a client writes it. */
export const get = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
