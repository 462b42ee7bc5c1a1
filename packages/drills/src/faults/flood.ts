// Clients that ask again as soon as they are answered, many requests at a time on each connection: the instance is as busy as
// it can be, while who asks has little to do.
import { connect, type Socket } from "node:net";

export interface FloodOptions {
  /** Of the API, without /v1. */
  readonly baseUrl: string;
  readonly key: string;
  readonly signal: AbortSignal;
}

const connections = 8;
// On each. So many that the instance has something to do while the other side waits for its turn on a busy machine.
const mostUnderWay = 64;
// How each answer begins; no answer to these requests has it within.
const beginning = Buffer.from("HTTP/1.1 ");

/** Returns how to end it. */
export function startFlood({ baseUrl, key, signal }: FloodOptions): () => void {
  const { hostname, port, host } = new URL(baseUrl);
  const ask = `GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${key}\r\n\r\n`;
  const sockets = Array.from({ length: connections }, () => {
    const socket = connect(Number(port), hostname, () => socket.write(ask.repeat(mostUnderWay)));
    askAgain(socket, ask);
    // One that is cut has no more to say.
    return socket.on("error", () => {});
  });
  const end = (): void => {
    signal.removeEventListener("abort", end);
    for (const socket of sockets) socket.destroy();
  };
  signal.addEventListener("abort", end);
  return end;
}

function askAgain(socket: Socket, ask: string): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (data: Buffer) => {
    const text = Buffer.concat([rest, data]);
    let answers = 0;
    let from = 0;
    for (let at = text.indexOf(beginning); at >= 0; at = text.indexOf(beginning, from)) {
      answers += 1;
      from = at + beginning.length;
    }
    // A beginning may be cut in two.
    rest = text.subarray(Math.max(from, text.length - beginning.length + 1));
    socket.write(ask.repeat(answers));
  });
}
