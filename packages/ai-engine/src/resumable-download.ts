// Downloads a file of known length over HTTP into a `.part` file that a later call goes on with (RFC 9110, section 14:
// Range, If-Range, Content-Range).
import { open, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { errorMessage } from "@ectus/core";
import { EnvHttpProxyAgent, fetch, type Response } from "undici";

export interface DownloadOptions {
  readonly url: string;
  /** Where the bytes go; `<partPath>.json` beside it keeps which version of the file they are of. */
  readonly partPath: string;
  /** Length of the whole file; a server that offers another is refused. */
  readonly bytes: number;
  readonly signal: AbortSignal;
  /** Bytes that are on disk so far. */
  readonly onProgress?: (bytes: number) => void;
  readonly connectTimeoutMs?: number;
  /** How long the server may send nothing. */
  readonly stallTimeoutMs?: number;
  /** Tries in a row that may end without a new byte. */
  readonly attempts?: number;
  /** Pause before a further try, doubled each time. */
  readonly retryDelayMs?: number;
}

/** A failure that a further try would only repeat. */
class FinalError extends Error {}

const defaultConnectTimeoutMs = 5_000;
const defaultStallTimeoutMs = 20_000;
const defaultAttempts = 3;
const defaultRetryDelayMs = 500;

/**
 * Downloads until the part file has its full length. What it holds is not checked here.
 *
 * @throws Error with the reason; the part file stays, so that a later call goes on from there
 */
export async function downloadResumable(options: DownloadOptions): Promise<void> {
  const stallTimeoutMs = options.stallTimeoutMs ?? defaultStallTimeoutMs;
  const dispatcher = new EnvHttpProxyAgent({
    connect: { timeout: options.connectTimeoutMs ?? defaultConnectTimeoutMs },
    headersTimeout: stallTimeoutMs,
    bodyTimeout: stallTimeoutMs,
  });
  try {
    let fruitless = 0;
    let reached = false;
    while (true) {
      const before = await sizeOf(options.partPath);
      try {
        await downloadOnce(options, dispatcher);
        return;
      } catch (error) {
        options.signal.throwIfAborted();
        if (error instanceof FinalError || hasCode(error, "ENOSPC")) throw error;
        const isProgress = (await sizeOf(options.partPath)) > before;
        reached ||= isProgress;
        // A server that was never reached is given up at once, so that the next source has its turn.
        if (!reached && isSilence(error)) throw describe(error);
        fruitless = isProgress ? 1 : fruitless + 1;
        if (fruitless >= (options.attempts ?? defaultAttempts)) throw describe(error);
        const pauseMs = (options.retryDelayMs ?? defaultRetryDelayMs) * 2 ** (fruitless - 1);
        await delay(pauseMs, undefined, { signal: options.signal });
      }
    }
  } finally {
    await dispatcher.destroy();
  }
}

async function downloadOnce(options: DownloadOptions, dispatcher: EnvHttpProxyAgent): Promise<void> {
  const { url, partPath, bytes, signal, onProgress } = options;
  const have = await resumableLength(partPath, bytes);
  if (have.length === bytes) return;
  const response = await fetch(url, {
    dispatcher,
    signal,
    headers: {
      "accept-encoding": "identity",
      ...(have.length > 0 && { range: `bytes=${have.length}-`, "if-range": have.etag }),
    },
  });
  try {
    const start = startOf(response, have.length, bytes);
    const etag = response.headers.get("etag");
    // A weak validator does not promise equal bytes (RFC 9110, section 8.8.1).
    const version = etag !== null && !etag.startsWith("W/") ? etag : "";
    await writeFile(`${partPath}.json`, JSON.stringify({ etag: version }));
    if (response.body === null) throw new Error("the server sent no content");
    let written = start;
    // Each piece is on disk before the next is read, so that a cut loses none of them.
    const file = await open(partPath, start === 0 ? "w" : "a");
    try {
      for await (const piece of response.body as AsyncIterable<Uint8Array>) {
        if (written + piece.length > bytes) throw new FinalError(`the server sent more than ${bytes} bytes`);
        await file.appendFile(piece);
        written += piece.length;
        onProgress?.(written);
      }
    } finally {
      await file.close();
    }
    if (written < bytes) throw new Error(`the connection ended after ${written} of ${bytes} bytes`);
  } finally {
    await response.body?.cancel().catch(() => undefined);
  }
}

/** How much of the part file a server can go on from: nothing without a validator to tell versions apart. */
async function resumableLength(partPath: string, bytes: number): Promise<{ length: number; etag: string }> {
  const length = await sizeOf(partPath);
  const etag = await readEtag(partPath);
  if (length > 0 && length <= bytes && etag !== "") return { length, etag };
  if (length > 0) await truncate(partPath, 0);
  return { length: 0, etag: "" };
}

async function readEtag(partPath: string): Promise<string> {
  try {
    const kept: unknown = JSON.parse(await readFile(`${partPath}.json`, "utf8"));
    const etag = typeof kept === "object" && kept !== null && "etag" in kept ? kept.etag : "";
    return typeof etag === "string" ? etag : "";
  } catch {
    return "";
  }
}

/** The place in the file where the response's content starts. */
function startOf(response: Response, asked: number, bytes: number): number {
  const { status } = response;
  if (status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
    if (range === null || Number(range[1]) !== asked) {
      throw new FinalError("the server sent another range than was asked for");
    }
    if (range[2] !== "*" && Number(range[2]) !== bytes) throw wrongLength(range[2], bytes);
    return asked;
  }
  if (status !== 200) {
    const reason = `the server answered ${status}`;
    throw status >= 500 || status === 429 || status === 408 ? new Error(reason) : new FinalError(reason);
  }
  const length = response.headers.get("content-length");
  if (length !== null && Number(length) !== bytes) throw wrongLength(length, bytes);
  return 0;
}

const wrongLength = (got: string | undefined, bytes: number) =>
  new FinalError(`the server offers a file of ${got} bytes, and this one has ${bytes}`);

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0;
  }
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && (("code" in error && error.code === code) || hasCode(error.cause, code));

const silences = [
  "ENOTFOUND",
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
];
const isSilence = (error: unknown): boolean => silences.some((code) => hasCode(error, code));

/** undici says "fetch failed" and keeps the reason in the cause. */
function describe(error: unknown): Error {
  const cause = error instanceof Error ? error.cause : undefined;
  return new Error(errorMessage(cause ?? error), { cause: error });
}
