// The load of bench/observability.ts, in a process of its own: keep-alive connections on raw sockets, one request at a
// time on each. Either each connection sends when it has its answer (the most that the server does), or requests are due
// at a fixed rate, whether the server is ready or not, and the time of each counts from when it was due: a stall counts
// for all that were due in it. Waits for every answer, so that what the server counted can be checked.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { item, path } from "./observability-kinds.ts";

export interface Load {
  readonly port: number;
  readonly connections: number;
  /** Requests that are due per second; null: as many as can be. */
  readonly perSecond: number | null;
  readonly warmupMs: number;
  readonly forMs: number;
}

export type LoadMessage =
  | { readonly state: "measuring" | "measured" }
  | { readonly state: "done"; readonly result: LoadResult };

export interface LoadResult {
  /** All answers, and those that came in the time that is measured. */
  readonly answers: number;
  readonly measured: number;
  readonly seconds: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Share of the measured time in which this process used a core; 1: it was the limit, not the server. */
  readonly busy: number;
}

interface Connection {
  readonly socket: Socket;
  /** When its request was due, or was sent if none is ever due. */
  sinceMs: number;
  /** Bytes of the answer so far. */
  read: number;
}

const connectTimeoutMs = 10_000;
const request = Buffer.from(`GET ${path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer none\r\n\r\n`);
const success = Buffer.from("HTTP/1.1 200");
const body = Buffer.from(JSON.stringify(item));
const mostMeasured = 1_000_000;
const latencies = new Float64Array(mostMeasured);

process.on("message", (load: Load) => void run(load));
process.once("disconnect", () => process.exit(0));

function tell(message: LoadMessage): void {
  process.send?.(message);
}

async function run({ port, connections, perSecond, warmupMs, forMs }: Load): Promise<void> {
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(port)));
  const idle: Connection[] = [];
  const everyMs = perSecond === null ? 0 : 1_000 / perSecond;
  const startedMs = performance.now();
  const fromMs = startedMs + warmupMs;
  const untilMs = fromMs + forMs;
  let sent = 0;
  let answers = 0;
  let measured = 0;
  let phase: "warmup" | "measuring" | "over" = "warmup";
  let cpu = process.cpuUsage();
  let busy = 0;
  const finished = Promise.withResolvers<void>();

  function enter(now: number): void {
    if (phase === "warmup" && now >= fromMs) {
      phase = "measuring";
      cpu = process.cpuUsage();
      tell({ state: "measuring" });
    }
    if (phase === "measuring" && now >= untilMs) {
      phase = "over";
      const { user, system } = process.cpuUsage(cpu);
      busy = (user + system) / 1_000 / (now - fromMs);
      tell({ state: "measured" });
    }
  }

  function send(connection: Connection, sinceMs: number): void {
    connection.sinceMs = sinceMs;
    sent += 1;
    connection.socket.write(request);
  }

  /** Sends what is due, as far as there are connections that wait for no answer. */
  function sendDue(now: number): void {
    for (;;) {
      const dueMs = startedMs + sent * everyMs;
      if (dueMs > now || dueMs >= untilMs) return;
      const connection = idle.pop();
      if (connection === undefined) return;
      send(connection, dueMs);
    }
  }

  function onBytes(connection: Connection, bytes: Buffer): void {
    if (connection.read === 0 && !bytes.subarray(0, success.length).equals(success))
      finished.reject(new Error(`port ${port} answered what is no success: ${bytes.toString("latin1")}`));
    connection.read += bytes.length;
    // Answers differ in their heads, but all end with the same body, which no head contains.
    if (connection.read < body.length || !bytes.subarray(-body.length).equals(body)) return;
    connection.read = 0;
    const now = performance.now();
    answers += 1;
    enter(now);
    const { sinceMs } = connection;
    if (everyMs === 0 ? phase === "measuring" : sinceMs >= fromMs) {
      if (measured < mostMeasured) latencies[measured] = now - sinceMs;
      measured += 1;
    }
    if (everyMs > 0) {
      idle.push(connection);
      sendDue(now);
    } else if (phase !== "over") send(connection, now);
    if (phase === "over" && answers === sent && (everyMs === 0 || startedMs + sent * everyMs >= untilMs))
      finished.resolve();
  }

  // A timer is late by a millisecond, so the clock is looked at all the time.
  function watch(): void {
    const now = performance.now();
    enter(now);
    sendDue(now);
    if (phase === "over" && answers === sent && startedMs + sent * everyMs >= untilMs) finished.resolve();
    else setImmediate(watch);
  }

  for (const socket of sockets) {
    const connection: Connection = { socket, sinceMs: 0, read: 0 };
    socket.on("data", (bytes: Buffer) => onBytes(connection, bytes));
    socket.on("close", () => finished.reject(new Error(`port ${port} closed a connection`)));
    if (everyMs > 0) idle.push(connection);
    else send(connection, performance.now());
  }
  if (everyMs > 0) watch();
  await finished.promise;
  for (const socket of sockets) socket.removeAllListeners("close").destroy();
  const sorted = latencies.subarray(0, Math.min(measured, mostMeasured)).sort();
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  tell({
    state: "done",
    result: { answers, measured, seconds: forMs / 1_000, p50: at(0.5), p99: at(0.99), busy },
  });
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect", { signal: AbortSignal.timeout(connectTimeoutMs) });
  return socket;
}
