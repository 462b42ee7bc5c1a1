// Turns what an upstream did wrong into the platform's errors, without letting any credential through.
import { EctusError, type ErrorDetails } from "@ectus/core";

const maxReasonLength = 500;

/** Masks the given secrets, and whatever looks like an API key or a bearer token, and bounds the length. */
export function createMask(secrets: readonly string[]): (text: string) => string {
  // A short secret would mask ordinary words.
  const known = secrets.filter((secret) => secret.length >= 6);
  return (text) => {
    let masked = text;
    for (const secret of known) masked = masked.replaceAll(secret, "[masked]");
    masked = masked
      .replace(/\b(sk|pk|rk|gsk|xai|key)[-_][\w*.-]{4,}/gi, "[masked]")
      .replace(/\bBearer\s+\S+/gi, "Bearer [masked]");
    return masked.length > maxReasonLength ? `${masked.slice(0, maxReasonLength)}…` : masked;
  };
}

export interface UpstreamAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/**
 * The error for an answer whose status is not 200.
 *
 * 401 and 403 mean that the platform's own key is wrong: to its client that is a failed upstream, never a 401 that
 * would send the client to look at a key of its own.
 */
export function answerFailure(
  provider: string,
  answer: UpstreamAnswer,
  mask: (text: string) => string,
  now: () => number,
): EctusError {
  const { status } = answer;
  const said = upstreamMessage(answer.body, mask);
  const retryAfterSeconds = parseRetryAfter(answer.headers["retry-after"], now);
  const details: ErrorDetails = {
    provider,
    upstreamStatus: status,
    ...(said.code === undefined ? {} : { upstreamCode: said.code }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  };
  const cause = said.message === undefined ? undefined : { cause: new Error(said.message) };
  switch (status) {
    case 400:
    case 404:
    case 409:
    case 413:
    case 422:
      return new EctusError("upstream_rejected", {
        ...details,
        reason: said.message ?? `it answered ${status} without a reason`,
        ...(said.param === undefined ? {} : { param: said.param }),
      });
    case 401:
    case 403:
      return new EctusError(
        "upstream_error",
        { ...details, reason: `it refused this platform's credentials with status ${status}` },
        cause,
      );
    case 429:
      return new EctusError("upstream_rate_limited", details, cause);
    default:
      return new EctusError(
        "upstream_error",
        { ...details, reason: `it answered with status ${status}` },
        cause,
      );
  }
}

/**
 * Seconds that a `Retry-After` header (RFC 9110, section 10.2.3: seconds or an HTTP date) asks for, rounded up;
 * undefined when there is none or it cannot be read.
 */
export function parseRetryAfter(
  header: string | string[] | undefined,
  now: () => number,
): number | undefined {
  const text = (Array.isArray(header) ? header[0] : header)?.trim();
  if (text === undefined || text === "") return undefined;
  if (/^\d{1,9}(\.\d{1,9})?$/.test(text)) return Math.ceil(Number(text));
  // Date.parse reads more than HTTP dates, such as plain numbers: only what begins with a day's name is a date.
  const time = /^[A-Z][a-z]{2}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(time) ? undefined : Math.max(0, Math.ceil((time - now()) / 1000));
}

/** What is safe to repeat of an upstream's error object, wherever it keeps it. */
export function upstreamMessage(
  body: string,
  mask: (text: string) => string,
): { message?: string; code?: string; param?: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return {};
  }
  return describeErrorObject(parsed, mask);
}

/** The same for an error object that is parsed already. */
export function describeErrorObject(
  value: unknown,
  mask: (text: string) => string,
): { message?: string; code?: string; param?: string } {
  const outer = asRecord(value);
  // OpenAI: {error:{message}}; Ollama: {error:"…"}; vLLM: {message}; FastAPI: {detail:"…"}.
  const error = asRecord(outer?.error) ?? outer;
  const message = [error?.message, outer?.error, outer?.detail].find(isText);
  return {
    ...(message === undefined ? {} : { message: mask(message) }),
    ...(isText(error?.code) ? { code: mask(error.code) } : {}),
    ...(isText(error?.param) ? { param: mask(error.param) } : {}),
  };
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

const asRecord = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
