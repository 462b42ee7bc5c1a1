// A load client as cheap as can be, in its own process: keep-alive connections on raw sockets, each with one request
// at a time. Takes jobs from the process that forked it, tells when it begins to measure, and ends with it.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { createMessageReader } from "./wire.ts";

export interface LoadJob {
  readonly port: number;
  readonly connections: number;
  /** Raw requests; connection n sends the (n modulo their number)th. */
  readonly requests: readonly string[];
  /** Requests that are not measured, on the same connections. */
  readonly warmup: number;
  /** Ends after this many measured requests or this time, whichever is first. */
  readonly count: number;
  readonly maxMs: number;
}

export interface LoadResult {
  /** Answers of all, and those that were measured. */
  readonly answers: number;
  readonly requests: number;
  readonly seconds: number;
  /** Milliseconds until the whole answer. */
  readonly latency: Quantiles;
  /** Milliseconds until the first byte of its body. */
  readonly firstByte: Quantiles;
  /** The first answers that were no success. */
  readonly failures: readonly string[];
}

export interface Quantiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

export type LoadMessage =
  | { readonly state: "measuring" }
  /** Every connection has had the first byte of a body. */
  | { readonly state: "all-open" }
  | { readonly state: "done"; readonly result: LoadResult };

const mostFailures = 3;
const connectTimeoutMs = 10_000;

process.on("message", (job: LoadJob) => void run(job));
process.once("disconnect", () => process.exit(0));

function tell(message: LoadMessage): void {
  process.send?.(message);
}

async function run(job: LoadJob): Promise<void> {
  const { port, connections, requests, warmup, count, maxMs } = job;
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(port)));
  const latencies = new Float64Array(count + connections);
  const firstBytes = new Float64Array(count + connections);
  const failures: string[] = [];
  const opened = new Set<Socket>();
  const total = warmup + count;
  let sent = 0;
  let completed = 0;
  let measured = 0;
  let measuringSince = 0;
  let seconds = 0;
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });

  function begin(): void {
    measuringSince = performance.now();
    tell({ state: "measuring" });
  }

  function end(): void {
    if (seconds > 0) return;
    seconds = (performance.now() - measuringSince) / 1_000;
    finish();
  }

  function drive(socket: Socket, request: Buffer): void {
    let startedAt = 0;
    let firstByteAt = 0;
    const next = (): void => {
      if (sent === total || seconds > 0) return;
      sent++;
      startedAt = performance.now();
      socket.write(request);
    };
    const read = createMessageReader({
      keepBody: false,
      onBodyStart() {
        firstByteAt = performance.now();
        if (opened.size < connections && opened.add(socket).size === connections) tell({ state: "all-open" });
      },
      onMessage(head) {
        const now = performance.now();
        if (!head.startsWith("HTTP/1.1 200") && failures.length < mostFailures) failures.push(head);
        completed++;
        if (measuringSince > 0 && startedAt >= measuringSince && seconds === 0) {
          latencies[measured] = now - startedAt;
          firstBytes[measured] = firstByteAt - startedAt;
          measured++;
        }
        if (completed === warmup) begin();
        if (
          completed === total ||
          failures.length === mostFailures ||
          (now - measuringSince > maxMs && measuringSince > 0)
        )
          end();
        next();
      },
    });
    socket.on("data", read);
    socket.on("close", () => {
      if (seconds > 0) return;
      failures.push("the connection was closed");
      end();
    });
    next();
  }

  if (warmup === 0) begin();
  sockets.forEach((socket, index) => {
    drive(socket, Buffer.from(requests[index % requests.length] ?? ""));
  });
  await finished;
  for (const socket of sockets) socket.destroy();
  tell({
    state: "done",
    result: {
      answers: completed,
      requests: measured,
      seconds,
      latency: quantiles(latencies.subarray(0, measured)),
      firstByte: quantiles(firstBytes.subarray(0, measured)),
      failures,
    },
  });
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {});
  await once(socket, "connect", { signal: AbortSignal.timeout(connectTimeoutMs) });
  return socket;
}

function quantiles(values: Float64Array): Quantiles {
  values.sort();
  const at = (share: number): number =>
    values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}
