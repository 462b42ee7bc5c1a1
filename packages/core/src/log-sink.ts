// Where lines leave the process: a bounded buffer before standard output or standard error. Whoever reads may stop
// reading for a while; then lines wait, and beyond the bound they are dropped and counted. Nobody ever waits for a reader.
//
// Not pino's own destination, SonicBoom: docs/decisions/0009-log-lines-leave-by-a-sink-of-our-own.md.
import { constants, fstatSync, openSync, write, writeSync } from "node:fs";

export interface LogSink {
  /** Takes text of whole lines; false if it is dropped. */
  write(text: string): boolean;
  /** Resolves when everything written so far has left; rejects when that takes too long, or nobody reads any more. */
  flush(): Promise<void>;
}

export interface LogSinkOptions {
  /** 1 or 2. */
  readonly fd: 1 | 2;
  /** Called when lines are taken again, with how many were dropped. */
  readonly onRecovered?: (dropped: number) => void;
}

// Handing over costs more than making a line, so lines leave together; none waits longer than this.
const gatherMs = 100;
const gatheredCharacters = 65_536;
const mostWaitingBytes = 8 * 1_024 * 1_024;
const firstRetryMs = 5;
const lastRetryMs = 100;
const flushMs = 2_000;
// So long a reader that has stopped holds up the end of the process.
const exitMs = 1_000;
const exitRetryMs = 5;

export function createLogSink({ fd: given, onRecovered }: LogSinkOptions): LogSink {
  let fd: number = given;
  const chunks: Buffer[] = [];
  let gathered = "";
  /** What of a chunk is still to be written. */
  let rest: Buffer | undefined;
  /** In chunks. */
  let waitingBytes = 0;
  let dropped = 0;
  let inThread = false;
  let isClosed = false;
  let retryMs = firstRetryMs;
  let timer: NodeJS.Timeout | undefined;
  let mode: Opened["mode"] | undefined;
  const flushing = new Set<{ resolve: () => void; reject: (error: Error) => void }>();

  function start(): void {
    ({ fd, mode } = open(given));
    process.on("exit", writeAllAtExit);
  }

  function schedule(ms: number): void {
    timer ??= setTimeout(pump, ms).unref();
  }

  function closeChunk(): void {
    if (gathered === "") return;
    const chunk = Buffer.from(gathered);
    gathered = "";
    chunks.push(chunk);
    waitingBytes += chunk.length;
  }

  function next(): Buffer | undefined {
    if (rest !== undefined) return rest;
    if (chunks.length === 0) closeChunk();
    rest = chunks.shift();
    waitingBytes -= rest?.length ?? 0;
    return rest;
  }

  /** Writes until nothing is left, or nothing more is taken. */
  function pump(): void {
    clearTimeout(timer);
    timer = undefined;
    if (inThread || isClosed) return;
    for (let bytes = next(); bytes !== undefined; bytes = next()) {
      if (mode === "thread") {
        inThread = true;
        write(fd, bytes, (error, written) => {
          inThread = false;
          if (settle(error, written)) pump();
        });
        return;
      }
      let written = 0;
      let failure: NodeJS.ErrnoException | null = null;
      try {
        written = writeSync(fd, bytes);
      } catch (error) {
        failure = error as NodeJS.ErrnoException;
      }
      if (!settle(failure, written)) return;
    }
    for (const waiting of flushing) waiting.resolve();
    flushing.clear();
  }

  /** Notes what a write has done; whether the next makes sense now. */
  function settle(error: NodeJS.ErrnoException | null, written: number): boolean {
    if (error === null) {
      retryMs = firstRetryMs;
      rest = rest === undefined || written >= rest.length ? undefined : rest.subarray(written);
      if (dropped > 0 && waitingBytes < mostWaitingBytes / 2) recovered();
      return true;
    }
    if (error.code === "EPIPE" || error.code === "EBADF" || error.code === "ECONNRESET") {
      close();
      return false;
    }
    // A pipe that is full, or a disk that is.
    schedule(retryMs);
    retryMs = Math.min(retryMs * 2, lastRetryMs);
    return false;
  }

  function recovered(): void {
    const lost = dropped;
    dropped = 0;
    onRecovered?.(lost);
  }

  /** Nobody will ever read again. */
  function close(): void {
    isClosed = true;
    chunks.length = 0;
    gathered = "";
    rest = undefined;
    waitingBytes = 0;
    process.off("exit", writeAllAtExit);
    for (const waiting of flushing) waiting.reject(new Error("nobody reads the log any more"));
    flushing.clear();
  }

  function writeAllAtExit(): void {
    const giveUpAt = performance.now() + exitMs;
    // A write that a thread has in hand ends by itself: the process waits for it.
    if (inThread) rest = undefined;
    for (let bytes = next(); bytes !== undefined; bytes = next()) {
      try {
        const written = writeSync(fd, bytes);
        rest = written >= bytes.length ? undefined : bytes.subarray(written);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== "EAGAIN" || performance.now() > giveUpAt) return;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, exitRetryMs);
      }
    }
  }

  return {
    write(text) {
      if (mode === undefined) start();
      if (isClosed) return false;
      if (waitingBytes + gathered.length + text.length > mostWaitingBytes) {
        dropped += 1;
        return false;
      }
      gathered += text;
      if (gathered.length < gatheredCharacters) {
        schedule(gatherMs);
        return true;
      }
      closeChunk();
      // Already waiting for a reader: it is not asked more often for that.
      if (retryMs === firstRetryMs) pump();
      return true;
    },
    flush() {
      if (isClosed) return Promise.reject(new Error("nobody reads the log any more"));
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const waiting = { resolve, reject };
      const limit = setTimeout(() => {
        flushing.delete(waiting);
        reject(new Error(`the log could not be written within ${flushMs} ms`));
      }, flushMs);
      flushing.add(waiting);
      pump();
      return promise.finally(() => clearTimeout(limit));
    },
  };
}

interface Opened {
  readonly fd: number;
  readonly mode: "direct" | "thread";
}

/**
 * Pipes and sockets are written to at once, and refuse what they cannot take. Files and terminals always take it, but may
 * take their time, in a thread.
 */
function open(fd: 1 | 2): Opened {
  const stats = fstatSync(fd);
  if (!stats.isFIFO() && !stats.isSocket()) return { fd, mode: "thread" };
  if (stats.isFIFO()) {
    try {
      // Opened anew: whether a write waits is said of what is open, which other programs may share, and change.
      const { O_WRONLY, O_NONBLOCK } = constants;
      return { fd: openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK), mode: "direct" };
    } catch {
      // Not on this system, or not for this user.
    }
  }
  // Node.js makes its own streams of them so that writes do not wait, which is all that is asked of those here.
  const stream = fd === 1 ? process.stdout : process.stderr;
  return { fd, mode: stream.writable ? "direct" : "thread" };
}
