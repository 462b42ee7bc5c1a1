// A client whose requests have bodies of so many parts that reading one of them takes the instance a long turn.
import { setTimeout as delay } from "node:timers/promises";

export interface LargeBodiesOptions {
  /** Of the API, without /v1. */
  readonly baseUrl: string;
  readonly key: string;
  readonly signal: AbortSignal;
}

const everyMs = 700;
// A turn of about a third of a second is sought, whatever the machine: longer ones would keep the scrapes out.
const turnMs = { least: 300, most: 500 };
const partText = '{"a":1}';
const fewest = 200_000;
// The API takes 16 MiB.
const most = 1_900_000;

/** Returns how to end it. */
export function sendLargeBodies({ baseUrl, key, signal }: LargeBodiesOptions): () => Promise<void> {
  const ending = new AbortController();
  const untilEnd = AbortSignal.any([signal, ending.signal]);
  async function run(): Promise<void> {
    let parts = fewest * 2;
    while (!untilEnd.aborted) {
      const startedAt = performance.now();
      const answer = await fetch(`${baseUrl}/v1/chat/completions`, {
        method: "POST",
        signal: untilEnd,
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        // Of a model that there is not: it goes nowhere.
        body: `{"model":"none","messages":[${`${partText},`.repeat(parts - 1)}${partText}]}`,
      });
      await answer.arrayBuffer();
      const tookMs = performance.now() - startedAt;
      if (tookMs < turnMs.least) parts = Math.min(most, Math.round(parts * 1.3));
      else if (tookMs > turnMs.most) parts = Math.max(fewest, Math.round(parts / 1.3));
      await delay(Math.max(0, everyMs - tookMs), undefined, { signal: untilEnd });
    }
  }
  // One that is cut off has ended.
  const running = run().catch(() => {});
  return async () => {
    ending.abort();
    await running;
  };
}
