// The customers of a drill: real HTTP clients at a bounded rate, which note what they see. What they saw is the
// customers' side of the report, and how a drill knows that its fault was real.
import { setTimeout as delay } from "node:timers/promises";

/** What a client does: a chat, a chat as a stream, the list of models, the list of its stored completions. */
export type Call = "chat" | "stream" | "models" | "stored";

export interface TrafficOptions {
  /** Of the API, without /v1. */
  readonly baseUrl: string;
  readonly key: string;
  readonly model: string;
  readonly perSecond: number;
  /** What is called, one after the other, again and again. */
  readonly pattern: readonly Call[];
  readonly signal: AbortSignal;
}

/** What clients saw within a time. */
export interface CustomerView {
  readonly requests: number;
  readonly answered: number;
  /** Answered with a status of 500 or more, by status. */
  readonly failed: Readonly<Record<string, number>>;
  /** Answered with a status from 400 to 499: the drill's own fault. */
  readonly rejected: number;
  /** Streams that ended without [DONE] after their 200. */
  readonly brokenStreams: number;
  /** No connection, or one that was cut before an answer. */
  readonly unreachable: number;
  /** Given up by the client after ten seconds. */
  readonly timedOut: number;
  /** Not sent, since too many were under way. */
  readonly heldBack: number;
  /** Milliseconds to the first token of a stream, of those that gave one; undefined if none did. */
  readonly firstTokenMs: { readonly median: number; readonly p95: number } | undefined;
}

export interface Traffic {
  /** What was seen since the last time that this was asked. */
  take(): CustomerView;
  /** Ends it; what is under way is given up. */
  stop(): Promise<void>;
}

// As many as a browser farm behind one proxy would have; past it, a slow service would only queue here.
const mostUnderWay = 80;
const patienceMs = 10_000;

type Outcome =
  | { readonly kind: "answered"; readonly firstTokenMs?: number }
  | { readonly kind: "failed"; readonly status: number }
  | { readonly kind: "rejected" | "broken-stream" | "unreachable" | "timed-out" };

export function startTraffic(options: TrafficOptions): Traffic {
  const { perSecond, pattern } = options;
  const ending = new AbortController();
  const signal = AbortSignal.any([options.signal, ending.signal]);
  const underWay = new Set<Promise<void>>();
  let outcomes: Outcome[] = [];
  let heldBack = 0;

  function send(call: Call): void {
    if (underWay.size >= mostUnderWay) {
      heldBack += 1;
      return;
    }
    const sent: Promise<void> = request(call, options, signal).then((outcome) => {
      underWay.delete(sent);
      // What the end of the drill cut off says nothing of the service.
      if (!signal.aborted) outcomes.push(outcome);
    });
    underWay.add(sent);
  }

  async function run(): Promise<void> {
    const startedAt = performance.now();
    for (let sent = 0; !signal.aborted; sent += 1) {
      send(pattern[sent % pattern.length] ?? "models");
      // By the clock, so that a busy machine sends what it is behind with.
      const dueMs = startedAt + ((sent + 1) / perSecond) * 1_000 - performance.now();
      if (dueMs > 0) await delay(dueMs, undefined, { signal }).catch(() => {});
    }
  }
  const running = run();

  return {
    take() {
      const seen = outcomes;
      const held = heldBack;
      outcomes = [];
      heldBack = 0;
      return summarize(seen, held);
    },
    async stop() {
      ending.abort();
      await running;
      await Promise.all(underWay);
    },
  };
}

async function request(call: Call, options: TrafficOptions, ending: AbortSignal): Promise<Outcome> {
  const patience = AbortSignal.timeout(patienceMs);
  const signal = AbortSignal.any([patience, ending]);
  try {
    return await ask(call, options, signal);
  } catch {
    return { kind: patience.aborted ? "timed-out" : "unreachable" };
  }
}

async function ask(
  call: Call,
  { baseUrl, key, model }: TrafficOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  const startedAt = performance.now();
  const headers = { authorization: `Bearer ${key}` };
  const isChat = call === "chat" || call === "stream";
  const path = call === "models" ? "models" : `chat/completions${isChat ? "" : "?limit=1"}`;
  const answer = await fetch(`${baseUrl}/v1/${path}`, {
    signal,
    headers: isChat ? { ...headers, "content-type": "application/json" } : headers,
    ...(isChat ? { method: "POST", body: JSON.stringify(chat(model, call === "stream")) } : {}),
  });
  if (answer.status >= 400) {
    await answer.body?.cancel();
    return answer.status >= 500 ? { kind: "failed", status: answer.status } : { kind: "rejected" };
  }
  if (call !== "stream" || answer.body === null) {
    await answer.arrayBuffer();
    return { kind: "answered" };
  }
  return readStream(answer.body, startedAt);
}

const chat = (model: string, stream: boolean): object => ({
  model,
  messages: [{ role: "user", content: "Say that this is a drill." }],
  stream,
});

async function readStream(body: ReadableStream<Uint8Array>, startedAt: number): Promise<Outcome> {
  const decoder = new TextDecoder();
  let firstTokenMs: number | undefined;
  let text = "";
  try {
    for await (const part of body) {
      text += decoder.decode(part, { stream: true });
      if (firstTokenMs === undefined && /"content":"[^"]/.test(text))
        firstTokenMs = performance.now() - startedAt;
    }
  } catch {
    return { kind: "broken-stream" };
  }
  if (!text.endsWith("data: [DONE]\n\n")) return { kind: "broken-stream" };
  return { kind: "answered", ...(firstTokenMs === undefined ? {} : { firstTokenMs }) };
}

function summarize(outcomes: readonly Outcome[], heldBack: number): CustomerView {
  const countOf = (kind: Outcome["kind"]): number =>
    outcomes.filter((outcome) => outcome.kind === kind).length;
  const failed: Record<string, number> = {};
  const firstTokens: number[] = [];
  for (const outcome of outcomes) {
    if (outcome.kind === "failed") failed[outcome.status] = (failed[outcome.status] ?? 0) + 1;
    if (outcome.kind === "answered" && outcome.firstTokenMs !== undefined)
      firstTokens.push(outcome.firstTokenMs);
  }
  firstTokens.sort((one, other) => one - other);
  const quantile = (share: number): number =>
    Math.round(firstTokens[Math.min(Math.floor(firstTokens.length * share), firstTokens.length - 1)] ?? 0);
  return {
    requests: outcomes.length,
    answered: countOf("answered"),
    failed,
    rejected: countOf("rejected"),
    brokenStreams: countOf("broken-stream"),
    unreachable: countOf("unreachable"),
    timedOut: countOf("timed-out"),
    heldBack,
    firstTokenMs: firstTokens.length === 0 ? undefined : { median: quantile(0.5), p95: quantile(0.95) },
  };
}
