// Clients that begin to send large bodies and stop before the end, as on a line that is cut off: what has come, the instance
// has to hold.
import { type ClientRequest, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";

export interface SlowUploadsOptions {
  /** Of the API, without /v1. */
  readonly baseUrl: string;
  readonly key: string;
  readonly clients: number;
  /** That each of them sends before it stops. */
  readonly bytesEach: number;
  /** Aborted to end them. */
  readonly signal: AbortSignal;
}

// Of a model that there is not, so that what is read and held is refused in the end, and goes nowhere.
const before = '{"model":"none","messages":[{"role":"user","content":"';
const after = '"}]}';
const word = "drill ";
// In between others are served.
const pauseMs = 50;

/**
 * Resolves when all but the ends are with the instance. Returns what has the clients give up and some
 * of them send all of it anew, one after the other: that has V8 notice that nothing of what was given up is held any more.
 */
export async function startSlowUploads(options: SlowUploadsOptions): Promise<() => Promise<void>> {
  const { baseUrl, key, clients, bytesEach, signal } = options;
  const part = Buffer.from(before + word.repeat(bytesEach / word.length));
  const givingUp = new AbortController();
  const begin = (signals: readonly AbortSignal[]): Upload => {
    const sent = request(`${baseUrl}/v1/chat/completions`, {
      method: "POST",
      agent: false,
      signal: AbortSignal.any([...signals]),
      headers: {
        authorization: `Bearer ${key}`,
        "content-type": "application/json",
        "content-length": part.length + after.length,
      },
    });
    return { sent, answered: answerOf(sent) };
  };
  for (let client = 0; client < clients; client += 1) {
    const { sent, answered } = begin([signal, givingUp.signal]);
    await Promise.race([
      new Promise<void>((resolve) => sent.write(part, () => resolve())),
      answered.then((status) => {
        throw new Error(`an upload was answered with ${status} before its end`);
      }),
    ]);
  }
  return async () => {
    givingUp.abort();
    for (let sentAnew = 0; sentAnew < clients / 3; sentAnew += 1) {
      const { sent, answered } = begin([signal]);
      sent.write(part);
      sent.end(after);
      await answered;
      await delay(pauseMs, undefined, { signal });
    }
  };
}

interface Upload {
  readonly sent: ClientRequest;
  /** With its status. */
  readonly answered: Promise<number | undefined>;
}

function answerOf(upload: ClientRequest): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  upload.on("error", reject);
  upload.on("response", (answer) => {
    answer.on("end", () => resolve(answer.statusCode)).resume();
  });
  // Whoever waits for it is told; those of a drill that ends are not waited for.
  promise.catch(() => {});
  return promise;
}
