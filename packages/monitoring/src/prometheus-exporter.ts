// Serves the metrics to Prometheus on a port of their own. Whatever happens here, the API goes on: a port that is
// taken is tried again, and what fails is logged once.
import { once } from "node:events";
import { createServer as createHttpServer, type Server, type ServerOptions } from "node:http";
import { createServer as createHttpsServer, type Server as HttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { errorMessage, type Logger } from "@ectus/core";
import type { Registry } from "@ectus/metrics";
import { type ExporterFiles, type KeyPair, openExporterFiles } from "./exporter-files.ts";
import { createExporterRequests } from "./exporter-requests.ts";
import { createFaultLog, type FaultLog } from "./fault-log.ts";
import type { Instruments } from "./instruments.ts";

export interface ExporterOptions {
  readonly registry: Registry;
  readonly instruments: Instruments;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** TLS and who may scrape; without any, everybody over HTTP. */
  readonly files?: ExporterFiles;
  readonly log: Logger;
  /** Scrapes at once; 4 by default. */
  readonly maxScrapes?: number;
  /** After how long a port that is taken is tried again; doubled each time up to 30 s. 1,000 by default. */
  readonly retryMs?: number;
}

export interface Exporter {
  /**
   * With the address 127.0.0.1, at which it answers if `host` is that or every address; undefined while a free port is
   * to be taken and none could be.
   */
  readonly url: string | undefined;
  /** Whether it is served there now. */
  readonly listening: boolean;
  /** Scrapes that are under way have `graceMs` to end, 1,000 by default. */
  close(graceMs?: number): Promise<void>;
}

const mostRetryMs = 30_000;
const defaultGraceMs = 1_000;
const serverOptions: ServerOptions = {
  // From whom nothing comes in this time is no scraper.
  headersTimeout: 10_000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 5_000,
  // Longer than between two scrapes, so that a scraper can keep its connection.
  keepAliveTimeout: 130_000,
};
const handshakeTimeoutMs = 10_000;
const maxConnections = 100;

/**
 * Starts the exporter; returns when it listens, or has tried to.
 *
 * @throws EctusError `invalid_config` when a file cannot be used
 */
export async function startExporter(options: ExporterOptions): Promise<Exporter> {
  const { registry, instruments, host, port, log } = options;
  const { files = {}, maxScrapes = 4, retryMs = 1_000 } = options;
  const faults = createFaultLog(log);
  const { credentials, keyPair } = openExporterFiles(files, faults);
  const requests = createExporterRequests({
    registry,
    credentials,
    maxScrapes,
    scrapeSeconds: instruments.histogram("metrics_scrape_duration_seconds").labels({}),
    faults,
  });
  const server = keyPair === undefined ? createHttpServer(serverOptions) : createTlsServer(keyPair, faults);
  server.on("request", requests);
  const connections = keepConnections(server);
  const scheme = keyPair === undefined ? "http" : "https";
  const listening = keepListening({ server, host, port, retryMs, log, faults });
  await listening.tried;
  return {
    get url() {
      const heard = (server.address() as AddressInfo | null)?.port ?? port;
      return heard === 0 ? undefined : `${scheme}://127.0.0.1:${heard}`;
    },
    get listening() {
      return server.listening;
    },
    async close(graceMs = defaultGraceMs) {
      listening.stop();
      await connections.close(graceMs);
    },
  };
}

function createTlsServer(keyPair: () => KeyPair, faults: FaultLog): HttpsServer {
  let served = keyPair();
  const server = createHttpsServer({ ...serverOptions, ...served, handshakeTimeout: handshakeTimeoutMs });
  // Before the handshake of this very connection begins.
  server.prependListener("connection", () => {
    const current = keyPair();
    if (current === served) return;
    served = current;
    try {
      server.setSecureContext({ ...current });
      faults.mended("TLS", {}, "a changed certificate is in use");
    } catch (error) {
      faults.failed("TLS", { err: error }, "a changed certificate cannot be used");
    }
  });
  return server;
}

interface Listening {
  /** Resolves after the first try. */
  readonly tried: Promise<void>;
  stop(): void;
}

interface ListenOptions {
  readonly server: Server;
  readonly host: string;
  readonly port: number;
  readonly retryMs: number;
  readonly log: Logger;
  readonly faults: FaultLog;
}

/** Tries to listen until it does or is stopped. */
function keepListening({ server, host, port, retryMs, log, faults }: ListenOptions): Listening {
  let stopped = false;
  let retry: NodeJS.Timeout | undefined;
  // A connection that could not be accepted, as when there are no more file descriptors, is no end of the server.
  server.on("error", (error) => {
    if (server.listening) faults.failed("accept", { err: error }, "a scraper's connection was not accepted");
  });
  server.on("connection", () => faults.mended("accept", {}, "scrapers' connections are accepted again"));
  async function listen(nextMs: number): Promise<void> {
    try {
      server.listen({ host, port });
      await once(server, "listening");
      if (stopped) return void server.close();
      const { port: heard } = server.address() as AddressInfo;
      if (faults.open.has("listen")) faults.mended("listen", { host, port: heard }, "metrics are served now");
      else log.info({ host, port: heard }, "metrics are served");
    } catch (error) {
      if (stopped) return;
      faults.failed(
        "listen",
        { host, port, reason: errorMessage(error) },
        "metrics cannot be served; the API works without, and this is tried again until it succeeds",
      );
      retry = setTimeout(() => void listen(Math.min(nextMs * 2, mostRetryMs)), nextMs);
      retry.unref();
    }
  }
  return {
    tried: listen(retryMs),
    stop() {
      stopped = true;
      clearTimeout(retry);
    },
  };
}

interface Connections {
  close(graceMs: number): Promise<void>;
}

/** Knows all connections, those in the middle of a handshake too, so that the server can be closed in bounded time. */
function keepConnections(server: Server): Connections {
  const sockets = new Set<Socket>();
  let closing = false;
  server.maxConnections = maxConnections;
  // This one is lost, but the scraper's next finds room: connections that are only kept make way for it.
  server.on("drop", () => server.closeIdleConnections());
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("request", (request, response) => {
    response.once("close", () => {
      if (closing) request.socket.end();
    });
  });
  return {
    async close(graceMs) {
      closing = true;
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      const limit = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await closed;
      clearTimeout(limit);
    },
  };
}
