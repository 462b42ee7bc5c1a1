// Requests of commands to the HTTP API of an instance: bounded in time, with its errors as errors of this program.
import { setTimeout as delay } from "node:timers/promises";
import { errorMessage } from "@ectus/core";
import { CommandFault } from "./exit-codes.ts";
import { printable } from "./output.ts";

export interface ApiAccess {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: string;
}

export interface ApiRequest {
  readonly method?: "GET" | "POST" | "DELETE";
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface Api {
  readonly url: string;
  /** An answer of 2xx, parsed. */
  json(path: string, request: ApiRequest): Promise<unknown>;
  /** An answer of 2xx whose body is read by the caller, for as long as that takes; only its head is waited for here. */
  stream(path: string, request: ApiRequest): Promise<Response>;
}

interface ApiFaultFacts {
  readonly code: string;
  /** Undefined if there was no answer. */
  readonly status?: number | undefined;
  /** The field of the request that is at fault. */
  readonly param?: string | undefined;
  readonly retryAfterMs?: number | undefined;
}

/** What an API answered in place of what was asked for, or why it did not answer. */
export class ApiFault extends CommandFault {
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, facts: ApiFaultFacts, options?: ErrorOptions) {
    // The API names the field of a request that is at fault, and an option filled that.
    super(printable(message), facts.code, facts.status === 400 && facts.param !== undefined, options);
    this.name = "ApiFault";
    this.status = facts.status;
    this.retryAfterMs = facts.retryAfterMs;
  }

  /** Whether the same request may succeed a little later. */
  get passing(): boolean {
    const { status, code } = this;
    if (code === "too_many_exports" || code === "insufficient_quota") return false;
    return status === undefined || status === 408 || status === 429 || (status >= 500 && status !== 507);
  }
}

const answerWithinMs = 30_000;
// Of an error's body, which may be any program's.
const mostShown = 300;

export function openApi({ url, key }: ApiAccess, timeoutMs: number = answerWithinMs): Api {
  async function ask(path: string, { method = "GET", body, headers, signal }: ApiRequest): Promise<Response> {
    const response = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        accept: "application/json",
        // A range is one of the bytes as they are.
        "accept-encoding": "identity",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      // The key is for this server only.
      redirect: "manual",
      signal,
    });
    if (response.ok) return response;
    throw faultOf(response, await response.text().catch(() => ""), url);
  }

  /** Gives the reason of whoever aborted, or a fault that says what was not reached. */
  function explained(error: unknown, signal: AbortSignal, timedOut: boolean): unknown {
    if (signal.aborted) return signal.reason;
    if (error instanceof ApiFault) return error;
    const reason = timedOut
      ? `${url} did not answer within ${timeoutMs / 1_000} seconds.`
      : `${url} cannot be reached: ${networkReason(error)}.`;
    return new ApiFault(reason, { code: "api_unreachable" }, { cause: error });
  }

  return {
    url,
    async json(path, request) {
      const timeout = AbortSignal.timeout(timeoutMs);
      try {
        const response = await ask(path, { ...request, signal: AbortSignal.any([request.signal, timeout]) });
        return parseJson(await response.text(), response.status, url);
      } catch (error) {
        throw explained(error, request.signal, timeout.aborted);
      }
    },
    async stream(path, request) {
      const timeout = new AbortController();
      const timer = setTimeout(() => timeout.abort(), timeoutMs);
      try {
        return await ask(path, { ...request, signal: AbortSignal.any([request.signal, timeout.signal]) });
      } catch (error) {
        throw explained(error, request.signal, timeout.signal.aborted);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Why a connection was not made or did not last; fetch has it in the cause of what it throws. */
export function networkReason(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const { code, reason } = cause as { code?: unknown; reason?: unknown };
  // OpenSSL's own message is full of addresses and names of its files.
  if (typeof code === "string" && code.startsWith("ERR_SSL_"))
    return code === "ERR_SSL_WRONG_VERSION_NUMBER"
      ? "it does not speak TLS; try http:// in place of https://"
      : `TLS failed: ${typeof reason === "string" ? reason : code}`;
  return errorMessage(cause) || (typeof code === "string" ? code : errorMessage(error));
}

function parseJson(text: string, status: number, url: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw strangeAnswer(url, status, text);
  }
}

/** For an answer that the API of Ectus-R would not give. */
export function strangeAnswer(url: string, status: number, text: string): ApiFault {
  const start = text.trim().slice(0, mostShown);
  return new ApiFault(
    `${url} answered with status ${status} and something else than this API does${start === "" ? "" : `: ${start}`}. Check --url or ECTUS_URL.`,
    { code: "strange_answer", status },
  );
}

function faultOf(response: Response, text: string, url: string): ApiFault {
  const { status, headers } = response;
  const location = headers.get("location");
  if (status >= 300 && status < 400 && location !== null)
    return new ApiFault(
      `${url} sends on to ${location}, where the key was not sent to. Name the right address with --url or ECTUS_URL.`,
      { code: "redirected", status },
    );
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  const retryAfterMs = Number.isFinite(seconds) ? seconds * 1_000 : undefined;
  try {
    const { message, code, param } = JSON.parse(text).error;
    if (typeof message === "string" && typeof code === "string")
      return new ApiFault(message, {
        code,
        status,
        retryAfterMs,
        param: typeof param === "string" ? param : undefined,
      });
  } catch {
    // Said below.
  }
  return strangeAnswer(url, status, text);
}

export interface Patience {
  /** How long after its first fault work is tried again. */
  readonly giveUpAfterMs: number;
  readonly pauseMs: number;
  readonly longestPauseMs: number;
  /** Called at the first fault of a row. */
  readonly onTrouble: (fault: ApiFault) => void;
}

/** Tries work again, with growing pauses, while its faults are passing ones. */
export async function patiently<T>(
  work: () => Promise<T>,
  { giveUpAfterMs, pauseMs, longestPauseMs, onTrouble }: Patience,
  signal: AbortSignal,
): Promise<T> {
  let pause = pauseMs;
  let giveUpAt: number | undefined;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiFault && error.passing)) throw error;
      const now = performance.now();
      if (giveUpAt === undefined) onTrouble(error);
      giveUpAt ??= now + giveUpAfterMs;
      const wait = Math.min(Math.max(pause, error.retryAfterMs ?? 0), longestPauseMs);
      if (now + wait > giveUpAt) throw error;
      await delay(wait, undefined, { signal }).catch(() => signal.throwIfAborted());
      pause *= 2;
    }
  }
}
