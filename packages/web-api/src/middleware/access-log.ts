// One line per request, however it ends: also of a client that went away before its answer was complete. It is put
// together here and not by the logger, which would take longer for it than all else that is done around a request: of
// all that is in it nothing is written as a client sent it.
import { isoTime, type Logger, type Logging, type LogSample, type RequestContext } from "@ectus/core";
import { type AccessSample, createAccessSample } from "./access-sample.ts";
import type { Connection, Exchange } from "./exchange.ts";
import { newContext } from "./request-context.ts";

export interface AccessLog {
  /** Of one method of one route; the route is undefined where none fits. */
  lines(method: string, route: string | undefined): AccessLines;
  /**
   * Logs a request that is over.
   *
   * Those that were answered with 4xx or 5xx, whose client left (499), that were slow, that broke off, or whose trace is
   * kept are always logged; the others as the sample of their route says.
   */
  write(request: LoggedRequest, lines: AccessLines, end: RequestEnd): void;
}

/** What a line has of a request. */
export interface LoggedRequest
  extends Pick<Exchange, "context" | "span" | "startedMs" | "errorCode" | "isBroken"> {
  readonly connection: Pick<Connection, "isTrusted">;
}

export interface RequestEnd {
  readonly status: number;
  /** By `performance.now()`. */
  readonly endMs: number;
  readonly isSlow: boolean;
}

/** What the lines of one method of one route have in common. */
export class AccessLines {
  readonly sample: AccessSample;
  readonly #start: string;
  readonly #byStatus = new Map<number, string>();

  constructor(method: string, route: string | undefined, sample: AccessSample) {
    this.sample = sample;
    this.#start = `,"method":${JSON.stringify(method)},"path":${JSON.stringify(route ?? "unmatched")},"status":`;
  }

  /** The fields from the method to the name of the duration. */
  answered(status: number): string {
    let text = this.#byStatus.get(status);
    if (text === undefined) {
      text = `${this.#start}${status},"durationMs":`;
      this.#byStatus.set(status, text);
    }
    return text;
  }
}

export interface AccessLogOptions {
  readonly logging: Logging;
  /** By a route's pattern; `*` for any other. */
  readonly samples: ReadonlyMap<string, LogSample>;
}

const moduleName = "web-api";

export function createAccessLog({ logging, samples }: AccessLogOptions): AccessLog {
  const log: Logger = logging.module(moduleName);
  const sampleOf = createSamples(samples);
  return {
    lines: (method, route) => new AccessLines(method, route, sampleOf(route ?? "unmatched")),
    write(request, lines, { status, endMs, isSlow }) {
      if (!log.isLevelEnabled("info")) return;
      const { span, isBroken, errorCode, connection, context = newContext() } = request;
      const isKept = span?.isKept === true;
      if (status < 400 && !isKept && !isSlow && !isBroken) {
        const id = sampledId(context, connection.isTrusted === true);
        if (!lines.sample(endMs, id)) {
          logging.sampledOut();
          return;
        }
      }
      const durationMs = milliseconds(endMs - request.startedMs);
      logging.writeLine(
        "info",
        `{"level":"info","time":"${isoTime()}","module":"${moduleName}"${idsOf(context)}` +
          `${lines.answered(status)}${durationMs}${errorCode === undefined ? "" : `,"code":"${errorCode}"`}` +
          `${isKept ? `,"kept":"${span.trace.keepReason}"` : ""},"msg":"request"}\n`,
      );
    },
  };
}

/** A caller that is not trusted must not choose which of its lines are written. */
function sampledId({ requestId, span }: RequestContext, isTrusted: boolean): string {
  return isTrusted && span !== undefined ? span.traceId : requestId;
}

function idsOf({ correlationId, requestId, span, tenantId }: RequestContext): string {
  return (
    `,"correlationId":"${correlationId}","requestId":"${requestId}"` +
    (span === undefined ? "" : `,"traceId":"${span.traceId}","spanId":"${span.spanId}"`) +
    (tenantId === undefined ? "" : `,"tenantId":"${tenantId}"`)
  );
}

/** All methods of a route share its bucket, and all routes that are not named that of `*`. */
function createSamples(samples: ReadonlyMap<string, LogSample>): (route: string) => AccessSample {
  const made = new Map<string, AccessSample>();
  return (route) => {
    const name = samples.has(route) ? route : "*";
    let sample = made.get(name);
    if (sample === undefined) {
      sample = createAccessSample(samples.get(name));
      made.set(name, sample);
    }
    return sample;
  };
}

/** Times to the microsecond: whole numbers are written faster than others. */
function milliseconds(ms: number): string {
  const all = Math.max(Math.round(ms * 1_000), 0);
  const microseconds = all % 1_000;
  const whole = (all - microseconds) / 1_000;
  if (microseconds === 0) return `${whole}`;
  return `${whole}.${microseconds < 10 ? "00" : microseconds < 100 ? "0" : ""}${microseconds}`;
}
