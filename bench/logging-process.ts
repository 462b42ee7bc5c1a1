// One measurement of bench/logging.ts: logs to standard output, and says on standard error what a line took.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createLogging, redactText, runInContext } from "@ectus/core";
import { pino } from "pino";

export type LoggingTask =
  | "pino"
  | "pino-redact"
  | "ours"
  | "ours-dirty"
  | "ours-written"
  | "scan"
  | "blocked";

export interface LoggingMeasured {
  /** CPU of this process for one line. */
  readonly ns: number;
  /** Of one line. */
  readonly bytes: number;
  /** The longest turn of the event loop. */
  readonly longestMs: number;
}

const warmUpLines = 20_000;
const measuredLines = 80_000;
// Lines come in turns of the event loop, as they do with requests.
const linesPerTurn = 50;

const id = "01a20f3b5c6d7e8f9a0b1c2d3e4f5a6b";
const ids = { correlationId: `req_${id}`, requestId: `req_${id}`, traceId: id, spanId: "9a0b1c2d3e4f5a6b" };
const tenantId = "01a20f3b-5c6d-7e8f-9a0b-1c2d3e4f5a6b";
const span = {
  traceId: ids.traceId,
  spanId: ids.spanId,
  isKept: false,
  traceparent: "",
  tracestate: undefined,
};
const context = { correlationId: ids.correlationId, requestId: ids.requestId, tenantId, span };
const fields = {
  method: "POST",
  path: "/v1/chat/completions",
  status: 200,
  durationMs: 12.34,
  model: "small",
  provider: "local",
  tokens: 512,
  stream: false,
};
const line = `${JSON.stringify({ level: "info", time: "2026-11-24T19:32:42.123Z", module: "web-api", ...ids, tenantId, ...fields, msg: "request" })}\n`;

/** The paths that the fields named as secrets have on the first two levels. */
const redact = ["authorization", "apiKey", "password", "secret", "token", "key"].flatMap((name) => [
  name,
  `*.${name}`,
]);

function toWork(task: LoggingTask): () => unknown {
  if (task === "scan") {
    const text = line.replaceAll('"', "");
    return () => redactText(text);
  }
  if (task === "pino" || task === "pino-redact") {
    const destination = pino.destination({ fd: 1, sync: false, minLength: 4_096 });
    const timestamp = pino.stdTimeFunctions.isoTime;
    const log = pino({ base: null, timestamp, ...(task === "pino" ? {} : { redact }) }, destination).child({
      module: "web-api",
    });
    return () => log.info({ ...ids, tenantId, ...fields }, "request");
  }
  const logging = createLogging({ levels: { default: "info", modules: {} }, format: "json" });
  const log = logging.module("web-api");
  if (task === "ours-written") return () => logging.writeLine("info", line);
  const message = task === "ours-dirty" ? "request of ada@example.org" : "request";
  return () => log.info({ ...fields }, message);
}

async function repeat(work: () => unknown, count: number): Promise<void> {
  for (let done = 0; done < count; done += linesPerTurn) {
    for (let one = 0; one < linesPerTurn; one += 1) work();
    await new Promise(setImmediate);
  }
}

async function measure(task: LoggingTask): Promise<LoggingMeasured> {
  const work = toWork(task);
  await repeat(work, warmUpLines);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const before = process.cpuUsage();
  await repeat(work, measuredLines);
  const { user, system } = process.cpuUsage(before);
  delay.disable();
  return { ns: ((user + system) * 1_000) / measuredLines, bytes: line.length, longestMs: delay.max / 1e6 };
}

const task = process.argv[2] as LoggingTask;
const measured = await runInContext(context, () => measure(task));
process.stderr.write(JSON.stringify(measured));
// A reader that has stopped would be waited for.
process.exit(0);
