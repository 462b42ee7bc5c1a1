// A socket that reads into one piece of memory again and again. Node.js would take a new one for each read, tens of
// thousands for a large table, and collecting them cost a fifth of an export's time.
import { Socket } from "node:net";

const memoryBytes = 256 * 1024;

/** Gets what is read, which is overwritten by the next read. */
export type TakeChunk = (chunk: Buffer) => void;

const takers = new WeakMap<object, { take: TakeChunk | undefined }>();

/** For pg's option `stream`. As long as nobody takes its chunks, it gives copies of them as `data` events. */
export function createReadSocket(): Socket {
  const memory = Buffer.allocUnsafeSlow(memoryBytes);
  const taker: { take: TakeChunk | undefined } = { take: undefined };
  const socket: Socket = new Socket({
    onread: {
      buffer: memory,
      callback(bytes) {
        const chunk = memory.subarray(0, bytes);
        if (taker.take === undefined) socket.emit("data", Buffer.from(chunk));
        else taker.take(chunk);
        return true;
      },
    },
  } as ConstructorParameters<typeof Socket>[0]);
  takers.set(socket, taker);
  return socket;
}

/**
 * Has what a socket reads given to `take` instead of its `data` listeners, until undefined is given. Returns false for a
 * socket of another kind, as that of a TLS connection.
 */
export function takeChunks(socket: object, take: TakeChunk | undefined): boolean {
  const taker = takers.get(socket);
  if (taker === undefined) return false;
  taker.take = take;
  return true;
}
