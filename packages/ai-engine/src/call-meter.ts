// Measures one call of the engine: routing.ts, held-stream.ts and engine.ts tell it what happens, it updates the series
// that metrics.ts found for it. call-span.ts is told the same and records it.
import {
  type CounterHandle,
  currentExemplar,
  type GaugeHandle,
  type HistogramHandle,
} from "@ectus/monitoring";
import {
  type FailureReason,
  type InferenceOutcome,
  isClientClosed,
  outcomeOfCutStream,
  outcomeWithoutAnswer,
  reasonOf,
} from "./call-outcome.ts";
import type { ChatChoice, ChatCompletionChunk, CompletionUsage } from "./chat.ts";
import type { CallOutcome } from "./circuit-breaker.ts";
import { hasToken } from "./first-token.ts";
import type { ProviderStream } from "./provider.ts";
import { type TokenUsage, toTokenUsage } from "./usage.ts";

/** The `provider` of calls for which none was asked. */
const noProvider = "none";

/** The series of one operation of one model. */
export interface CallSeries {
  readonly active: GaugeHandle;
  /** Those of calls that this provider answered, or was asked for last. */
  of(provider: string): ProviderSeries;
  errors(provider: string, reason: FailureReason): CounterHandle;
  used(usage: TokenUsage): void;
}

export interface ProviderSeries {
  requests(outcome: InferenceOutcome): CounterHandle;
  duration(): HistogramHandle;
  timeToFirstToken(): HistogramHandle;
  timePerOutputToken(): HistogramHandle;
}

/** Of each call one of `completed`, `failed` and `streams` is called, and after `streams` `ended` and `settled`. */
export interface CallMeter extends RouteMeter, StreamMeter {
  /** Milliseconds that the call has waited for providers: for its turn, for answers and for chunks. */
  readonly waitedMs: number;
  /** Its answer is there; that of a chat has choices. */
  completed(usage: TokenUsage | null, choices?: readonly ChatChoice[]): void;
  /** It ends with an error, and nothing was given to its caller. */
  failed(error: unknown, signal: AbortSignal): void;
  /** Its answer begins. */
  streams(source: ProviderStream): void;
  /** Its stream is over: `error` is what the provider's side broke it with. */
  ended(outcome: CallOutcome, error: unknown, signal: AbortSignal): void;
}

/** What is told while routes are tried. */
export interface RouteMeter {
  /** From now on the call waits for a provider or its turn there, until `resumes`. */
  waits(): void;
  resumes(): void;
  /** @param model the provider's own name of the model */
  asks(provider: string, model: string): void;
  passedOver(provider: string, reason: "overloaded" | "circuit_open"): void;
  tryFailed(provider: string, error: unknown): void;
}

/** What is told while a stream is read. */
export interface StreamMeter {
  waits(): void;
  resumes(): void;
  chunk(chunk: ChatCompletionChunk): void;
  /** The provider works no more: what was used is final. */
  settled(): void;
}

const nothing = (): void => {};

/** Measures nothing and looks at no clock. */
export const noMeter: CallMeter = {
  waitedMs: 0,
  waits: nothing,
  resumes: nothing,
  asks: nothing,
  passedOver: nothing,
  tryFailed: nothing,
  completed: nothing,
  failed: nothing,
  streams: nothing,
  chunk: nothing,
  ended: nothing,
  settled: nothing,
};

export function measureCall(series: CallSeries, monotonicNow: () => number): CallMeter {
  return new MeasuredCall(series, monotonicNow);
}

class MeasuredCall implements CallMeter {
  readonly #series: CallSeries;
  readonly #now: () => number;
  readonly #startedMs: number;
  #provider: string = noProvider;
  #waitsSinceMs = 0;
  #stream: ProviderStream | undefined;
  #usage: CompletionUsage | null | undefined;
  #firstTokenMs: number | undefined;
  #completedMs: number | undefined;
  waitedMs = 0;

  constructor(series: CallSeries, monotonicNow: () => number) {
    this.#series = series;
    this.#now = monotonicNow;
    this.#startedMs = monotonicNow();
    series.active.inc();
  }

  waits(): void {
    this.#waitsSinceMs = this.#now();
  }

  resumes(): void {
    this.waitedMs += this.#now() - this.#waitsSinceMs;
  }

  asks(provider: string): void {
    this.#provider = provider;
  }

  passedOver(provider: string, reason: "overloaded" | "circuit_open"): void {
    this.#series.errors(provider, reason).inc(1, currentExemplar());
  }

  tryFailed(provider: string, error: unknown): void {
    if (!isClientClosed(error)) this.#series.errors(provider, reasonOf(error)).inc(1, currentExemplar());
  }

  completed(usage: TokenUsage | null): void {
    this.#complete();
    if (usage !== null) this.#series.used(usage);
  }

  failed(error: unknown, signal: AbortSignal): void {
    this.#end(outcomeWithoutAnswer(error, signal));
    // A provider that counts itself says what it had done for the client that left.
    if (!isClientClosed(error)) return;
    const usage = toTokenUsage(error.details.usage as CompletionUsage | undefined);
    if (usage !== null) this.#series.used(usage);
  }

  streams(source: ProviderStream): void {
    this.#stream = source;
  }

  chunk(chunk: ChatCompletionChunk): void {
    if (chunk.usage != null) this.#usage = chunk.usage;
    if (this.#firstTokenMs === undefined && hasToken(chunk)) {
      this.#firstTokenMs = this.#now();
      const seconds = (this.#firstTokenMs - this.#startedMs) / 1000;
      this.#ofProvider().timeToFirstToken().observe(seconds, currentExemplar());
    }
  }

  ended(outcome: CallOutcome, error: unknown, signal: AbortSignal): void {
    if (outcome === "success") {
      this.#complete();
      return;
    }
    this.#end(outcomeOfCutStream(signal));
    if (error !== undefined) this.tryFailed(this.#provider, error);
  }

  settled(): void {
    const usage = toTokenUsage(this.#usage) ?? toTokenUsage(this.#stream?.usageSoFar?.());
    this.#stream = undefined;
    if (usage === null) return;
    this.#series.used(usage);
    if (this.#completedMs === undefined || this.#firstTokenMs === undefined || usage.outputTokens < 2) return;
    const seconds = (this.#completedMs - this.#firstTokenMs) / 1000;
    this.#ofProvider()
      .timePerOutputToken()
      .observe(seconds / (usage.outputTokens - 1), currentExemplar());
  }

  #complete(): void {
    this.#completedMs = this.#now();
    const seconds = (this.#completedMs - this.#startedMs) / 1000;
    this.#ofProvider().duration().observe(seconds, currentExemplar());
    this.#end("completed");
  }

  #end(outcome: InferenceOutcome): void {
    this.#ofProvider().requests(outcome).inc();
    this.#series.active.dec();
  }

  #ofProvider(): ProviderSeries {
    return this.#series.of(this.#provider);
  }
}
