// A TCP proxy in front of PostgreSQL that can fall silent, as a network does that drops packets without a word.
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface StallingProxy {
  /** `url` with the proxy's address. */
  through(url: string): string;
  /** Passes nothing on, and takes connections without answering. */
  stall(): void;
  /** Cuts what was held back and passes on new connections again. */
  resume(): void;
  /** Cuts every connection. */
  cut(): void;
  /** Connections that were made so far. */
  readonly connections: number;
  close(): Promise<void>;
}

/** @param rewrite changes the startup message, which must keep its length */
export async function startStallingProxy(
  postgresUrl: string,
  rewrite?: (startup: string) => string,
): Promise<StallingProxy> {
  const target = new URL(postgresUrl);
  const sockets = new Set<Socket>();
  let stalled = false;
  let connections = 0;

  function track(socket: Socket): void {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
  }

  const server = createServer((incoming) => {
    connections++;
    const outgoing = connect(Number(target.port), target.hostname);
    for (const [from, to] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      track(from);
      from.pipe(to);
      from.on("close", () => to.destroy());
    }
    if (rewrite !== undefined) {
      incoming.unpipe();
      incoming.once("data", (startup: Buffer) => {
        outgoing.write(Buffer.from(rewrite(startup.toString("latin1")), "latin1"));
        incoming.pipe(outgoing);
      });
      incoming.resume();
    }
    if (stalled) hold([incoming, outgoing]);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;

  function hold(held: Iterable<Socket>): void {
    for (const socket of held) {
      socket.unpipe();
      socket.pause();
    }
  }

  return {
    through(url) {
      const changed = new URL(url);
      changed.port = String(port);
      return changed.href;
    },
    stall() {
      stalled = true;
      hold(sockets);
    },
    resume() {
      stalled = false;
      for (const socket of sockets) socket.destroy();
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    get connections() {
      return connections;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
