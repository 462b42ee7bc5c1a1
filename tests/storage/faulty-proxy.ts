// A TCP proxy in front of an S3 server that damages what passes, cuts answers, or falls silent.
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface FaultyProxy {
  /** As `endpoint` in STORAGE_URL. */
  readonly endpoint: string;
  /** First lines of the requests that passed, as "PUT /bucket/key?query". */
  readonly requests: readonly string[];
  /** From now on a bit of this text is turned over wherever it is on its way to the server. */
  damage(text: string): void;
  /** From now on every answer ends after so many bytes: the connection is cut, or nothing comes any more. */
  endAnswersAfter(bytes: number, how: "cut" | "silent"): void;
  /** Takes requests from now on and passes nothing on. */
  holdRequests(): void;
  /** No faults from now on; connections that had one are cut. */
  heal(): void;
  close(): Promise<void>;
}

export async function startFaultyProxy(target: string): Promise<FaultyProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const requests: string[] = [];
  let damaged: Buffer | undefined;
  let answerEnd: { readonly bytes: number; readonly how: "cut" | "silent" } | undefined;
  let isHolding = false;

  function toServer(chunk: Buffer): Buffer {
    const text = chunk.toString("latin1");
    for (const [, line = ""] of text.matchAll(/(?:^|\r\n)([A-Z]+ \/\S*) HTTP\/1\.1\r\n/g))
      requests.push(line);
    const at = damaged === undefined ? -1 : chunk.indexOf(damaged);
    if (at !== -1) chunk[at] = Number(chunk[at]) ^ 1;
    return chunk;
  }

  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    let answered = 0;
    client.on("data", (chunk: Buffer) => {
      answered = 0;
      if (isHolding || !upstream.write(toServer(chunk))) client.pause();
    });
    upstream.on("drain", () => client.resume());
    upstream.on("data", (chunk: Buffer) => {
      const left = (answerEnd?.bytes ?? Number.POSITIVE_INFINITY) - answered;
      answered += chunk.length;
      const passing = chunk.subarray(0, Math.max(0, left));
      if (passing.length > 0 && !client.write(passing)) upstream.pause();
      if (left <= chunk.length && left > 0 && answerEnd?.how === "cut") client.destroySoon();
    });
    client.on("drain", () => upstream.resume());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const cutAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };

  return {
    endpoint: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    requests,
    damage(text) {
      damaged = Buffer.from(text);
    },
    endAnswersAfter(bytes, how) {
      answerEnd = { bytes, how };
    },
    holdRequests() {
      isHolding = true;
    },
    heal() {
      damaged = undefined;
      answerEnd = undefined;
      isHolding = false;
      cutAll();
    },
    async close() {
      cutAll();
      server.close();
      await once(server, "close");
    },
  };
}
