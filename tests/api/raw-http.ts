// HTTP by hand over a socket, for what no client library would send.
import { once } from "node:events";
import { connect, type Socket } from "node:net";

export interface RawConnection {
  readonly socket: Socket;
  /** What was received so far. */
  readonly received: string;
  write(text: string | Uint8Array): void;
  /** Resolves when what was received matches; rejects if the connection closes before, or after 10 s. */
  until(pattern: RegExp): Promise<string>;
  /** Resolves with all that was received when the connection is closed; rejects after 10 s. */
  closed(): Promise<string>;
}

const waitMs = 10_000;

/** Opens a connection to a server's URL. */
export async function rawConnection(url: string): Promise<RawConnection> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let received = "";
  socket.setEncoding("latin1");
  socket.on("data", (text) => {
    received += text;
  });
  // A reset is one of the ways in which a server ends a connection; `closed` tells.
  socket.on("error", () => {});
  await once(socket, "connect");

  /** Resolves when something happens on the connection. */
  function next(deadline: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        socket.off("data", done).off("close", done);
        resolve();
      };
      const timer = setTimeout(() => {
        socket.off("data", done).off("close", done);
        reject(new Error(`nothing more came after ${JSON.stringify(received)}`));
      }, deadline - performance.now());
      socket.on("data", done).on("close", done);
    });
  }

  return {
    socket,
    get received() {
      return received;
    },
    write: (text) => void socket.write(text),
    async until(pattern) {
      const deadline = performance.now() + waitMs;
      while (!pattern.test(received)) {
        if (socket.destroyed) throw new Error(`closed after ${JSON.stringify(received)}`);
        await next(deadline);
      }
      return received;
    },
    async closed() {
      const deadline = performance.now() + waitMs;
      while (!socket.closed) await next(deadline);
      return received;
    },
  };
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Takes the first answer of a text apart. */
export function parseAnswer(text: string): RawAnswer {
  const [head = "", ...rest] = text.split("\r\n\r\n");
  const [statusLine = "", ...lines] = head.split("\r\n");
  const headers = Object.fromEntries(
    lines.map((line) => {
      const [name = "", ...value] = line.split(": ");
      return [name.toLowerCase(), value.join(": ")];
    }),
  );
  return { status: Number(statusLine.split(" ")[1]), headers, body: rest.join("\r\n\r\n") };
}
