// The span of one call of the engine, `ai.chat` or `ai.embeddings`, by OpenTelemetry's conventions 1.45 for generative
// AI. It is told what a meter is told, and says nothing that a client or an upstream wrote: names are those of the
// configuration, all else is numbers and words that are known here.
import { errorTypeOf, type Span, type SpanTemplate, startSpan } from "@ectus/monitoring";
import { type Attributes, SpanKind } from "@opentelemetry/api";
import {
  ATTR_ERROR_TYPE,
  ATTR_GEN_AI_OPERATION_NAME,
  ATTR_GEN_AI_PROVIDER_NAME,
  ATTR_GEN_AI_REQUEST_CHOICE_COUNT,
  ATTR_GEN_AI_REQUEST_MAX_TOKENS,
  ATTR_GEN_AI_REQUEST_MODEL,
  ATTR_GEN_AI_REQUEST_STREAM,
  ATTR_GEN_AI_REQUEST_TEMPERATURE,
  ATTR_GEN_AI_REQUEST_TOP_P,
  ATTR_GEN_AI_RESPONSE_FINISH_REASONS,
  ATTR_GEN_AI_RESPONSE_MODEL,
  ATTR_GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
  ATTR_GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
  ATTR_GEN_AI_USAGE_INPUT_TOKENS,
  ATTR_GEN_AI_USAGE_OUTPUT_TOKENS,
  ATTR_GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
} from "@opentelemetry/semantic-conventions/incubating";
import type { CallMeter } from "./call-meter.ts";
import {
  type InferenceOutcome,
  isClientClosed,
  outcomeOfCutStream,
  outcomeWithoutAnswer,
} from "./call-outcome.ts";
import type { ChatChoice, ChatCompletionChunk, CompletionUsage, FinishReason } from "./chat.ts";
import type { CallOutcome } from "./circuit-breaker.ts";
import { hasToken } from "./first-token.ts";
import type { Operation, ProviderStream } from "./provider.ts";
import { conventionalProviderName, providerAttribute } from "./provider-name.ts";
import type { ProvidersConfig } from "./providers-config.ts";
import { outcomeOf } from "./routing.ts";
import { type TokenUsage, toTokenUsage } from "./usage.ts";

/** What a span says of a request, if it is what it should be. */
export interface AskedFor {
  readonly max_tokens?: unknown;
  readonly max_completion_tokens?: unknown;
  readonly temperature?: unknown;
  readonly top_p?: unknown;
  readonly n?: unknown;
}

/** How a call ended: the `outcome` of `ai_inference_requests_total`. */
const outcomeAttribute = "ectus.outcome";
const reasonAttribute = "ectus.reason";

/** A meter that records a call as `span` and has another one measure it. */
export interface RecordedCall extends CallMeter {
  readonly span: Span;
}

export interface CallSpans {
  /**
   * A call begins, under the span of the work in progress.
   *
   * @param meter what measures it
   * @returns undefined when nothing is recorded
   */
  begin(
    model: string,
    operation: Operation,
    meter: CallMeter,
    request: AskedFor,
    streamed: boolean,
  ): RecordedCall | undefined;
}

export function createCallSpans({ providers, models }: ProvidersConfig): CallSpans {
  const names = new Map<string, string>();
  for (const [name, settings] of providers) names.set(name, conventionalProviderName(name, settings));
  const chats = new Map<string, SpanTemplate>();
  const embeddings = new Map<string, SpanTemplate>();
  for (const [id, { routes }] of models) {
    // Where it goes at first; the span says at its end where it went.
    const provider = names.get(routes[0]?.provider ?? "");
    chats.set(id, templateOf("chat", id, provider));
    embeddings.set(id, templateOf("embeddings", id, provider));
  }
  return {
    begin(model, operation, meter, request, streamed) {
      const template = (operation === "chat" ? chats : embeddings).get(model);
      const span = template && startSpan(template);
      return span && new SpannedCall(span, meter, names, operation, request, streamed);
    },
  };
}

function templateOf(operation: Operation, model: string, provider: string | undefined): SpanTemplate {
  return {
    name: `ai.${operation}`,
    kind: SpanKind.CLIENT,
    attributes: {
      [ATTR_GEN_AI_OPERATION_NAME]: operation,
      [ATTR_GEN_AI_REQUEST_MODEL]: model,
      ...(provider === undefined ? {} : { [ATTR_GEN_AI_PROVIDER_NAME]: provider }),
    },
  };
}

class SpannedCall implements RecordedCall {
  readonly span: Span;
  // No names with #, which cost where an object is made.
  private readonly meter: CallMeter;
  private readonly names: ReadonlyMap<string, string>;
  private readonly operation: Operation;
  private readonly request: AskedFor;
  private readonly streamed: boolean;
  private provider: string | undefined = undefined;
  private model: string | undefined = undefined;
  private stream: ProviderStream | undefined = undefined;
  private usage: CompletionUsage | null | undefined = undefined;
  private firstChunkMs: number | undefined = undefined;
  private hasToken = false;
  private finishReasons: FinishReason[] | undefined = undefined;
  private outcome: InferenceOutcome = "completed";
  private errorType: string | undefined = undefined;
  private endMs = 0;

  constructor(
    span: Span,
    meter: CallMeter,
    names: ReadonlyMap<string, string>,
    operation: Operation,
    request: AskedFor,
    streamed: boolean,
  ) {
    this.span = span;
    this.meter = meter;
    this.names = names;
    this.operation = operation;
    this.request = request;
    this.streamed = streamed;
  }

  get waitedMs(): number {
    return this.meter.waitedMs;
  }

  waits(): void {
    this.meter.waits();
  }

  resumes(): void {
    this.meter.resumes();
  }

  asks(provider: string, model: string): void {
    this.provider = provider;
    this.model = model;
    this.meter.asks(provider, model);
  }

  passedOver(provider: string, reason: "overloaded" | "circuit_open"): void {
    this.span.addEvent("ectus.provider_passed_over", {
      [providerAttribute]: provider,
      [reasonAttribute]: reason,
    });
    this.meter.passedOver(provider, reason);
  }

  tryFailed(provider: string, error: unknown): void {
    // Before it is measured, so that the exemplar is there.
    this.keepForFailure(error);
    if (!isClientClosed(error)) {
      this.span.addEvent("ectus.provider_failed", {
        [providerAttribute]: provider,
        [ATTR_ERROR_TYPE]: errorTypeOf(error),
      });
    }
    this.meter.tryFailed(provider, error);
  }

  completed(usage: TokenUsage | null, choices?: readonly ChatChoice[]): void {
    this.endMs = performance.now();
    if (choices !== undefined) this.takeFinishReasons(choices);
    this.finish(usage, true);
    this.meter.completed(usage, choices);
  }

  failed(error: unknown, signal: AbortSignal): void {
    this.endMs = performance.now();
    this.outcome = outcomeWithoutAnswer(error, signal);
    this.errorType = errorTypeOf(signal.aborted ? signal.reason : error);
    this.finish(
      isClientClosed(error) ? toTokenUsage(error.details.usage as CompletionUsage | undefined) : null,
      false,
    );
    this.meter.failed(error, signal);
  }

  streams(source: ProviderStream): void {
    this.firstChunkMs = performance.now();
    this.stream = source;
    this.meter.streams(source);
  }

  chunk(chunk: ChatCompletionChunk): void {
    if (chunk.usage != null) this.usage = chunk.usage;
    if (!this.hasToken && hasToken(chunk)) {
      this.hasToken = true;
      this.span.addEvent("gen_ai.first_token");
    }
    this.takeFinishReasons(chunk.choices);
    this.meter.chunk(chunk);
  }

  ended(outcome: CallOutcome, error: unknown, signal: AbortSignal): void {
    this.endMs = performance.now();
    if (outcome !== "success") {
      this.outcome = outcomeOfCutStream(signal);
      this.errorType = signal.aborted
        ? errorTypeOf(signal.reason)
        : error === undefined
          ? "stream_interrupted"
          : errorTypeOf(error);
      this.keepForFailure(error);
    }
    this.meter.ended(outcome, error, signal);
  }

  settled(): void {
    const usage = toTokenUsage(this.usage) ?? toTokenUsage(this.stream?.usageSoFar?.());
    this.stream = undefined;
    this.finish(usage, true);
    this.meter.settled();
  }

  /** A provider's failure is worth its trace, whether another one mends it or not. */
  private keepForFailure(error: unknown): void {
    if (error !== undefined && outcomeOf(error) === "failure") this.span.keep("error");
  }

  private takeFinishReasons(choices: readonly ChatChoice[] | ChatCompletionChunk["choices"]): void {
    // An upstream that sends more choices than were asked for is not listened to.
    const most = Math.min(choices.length, mostChoices);
    for (let at = 0; at < most; at += 1) {
      const choice = choices[at];
      const reason = choice?.finish_reason;
      if (reason == null || !finishReasons.has(reason)) continue;
      const index = choice?.index ?? at;
      if (!(Number.isInteger(index) && index >= 0 && index < mostChoices)) continue;
      this.finishReasons ??= [];
      this.finishReasons[index] = reason;
    }
  }

  /** @param answered whether an answer began */
  private finish(usage: TokenUsage | null, answered: boolean): void {
    const { max_tokens, max_completion_tokens, temperature, top_p, n } = this.request;
    const attributes: Attributes = { [outcomeAttribute]: this.outcome };
    if (this.provider !== undefined) {
      attributes[providerAttribute] = this.provider;
      const name = this.names.get(this.provider);
      if (name !== undefined && name !== this.span.template.attributes[ATTR_GEN_AI_PROVIDER_NAME])
        attributes[ATTR_GEN_AI_PROVIDER_NAME] = name;
      if (answered && this.model !== undefined) attributes[ATTR_GEN_AI_RESPONSE_MODEL] = this.model;
    }
    if (this.operation === "chat") {
      if (this.streamed) attributes[ATTR_GEN_AI_REQUEST_STREAM] = true;
      const maxTokens = max_completion_tokens ?? max_tokens;
      if (isCount(maxTokens)) attributes[ATTR_GEN_AI_REQUEST_MAX_TOKENS] = maxTokens;
      if (isNumber(temperature)) attributes[ATTR_GEN_AI_REQUEST_TEMPERATURE] = temperature;
      if (isNumber(top_p)) attributes[ATTR_GEN_AI_REQUEST_TOP_P] = top_p;
      if (isCount(n) && n !== 1) attributes[ATTR_GEN_AI_REQUEST_CHOICE_COUNT] = n;
      if (this.firstChunkMs !== undefined)
        attributes[ATTR_GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = (this.firstChunkMs - this.span.startMs) / 1000;
      if (this.finishReasons !== undefined)
        // Without the gaps of choices that did not finish.
        attributes[ATTR_GEN_AI_RESPONSE_FINISH_REASONS] = this.finishReasons.filter(() => true);
    }
    if (usage !== null) {
      attributes[ATTR_GEN_AI_USAGE_INPUT_TOKENS] = usage.inputTokens;
      if (this.operation === "chat") attributes[ATTR_GEN_AI_USAGE_OUTPUT_TOKENS] = usage.outputTokens;
      if (usage.cachedTokens > 0) attributes[ATTR_GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS] = usage.cachedTokens;
      if (usage.reasoningTokens > 0)
        attributes[ATTR_GEN_AI_USAGE_REASONING_OUTPUT_TOKENS] = usage.reasoningTokens;
    }
    // They are sane, and nobody sets others: as they are, they cost half of what setAttributes() does.
    this.span.attributes = attributes;
    this.setStatus();
    this.span.end(this.endMs);
  }

  private setStatus(): void {
    switch (this.outcome) {
      case "completed":
      // A client that left is nobody's error.
      case "client_closed":
        break;
      case "rejected":
        // The request is at fault, and the call did what it should.
        this.span.setAttribute(ATTR_ERROR_TYPE, this.errorType ?? "internal_error");
        break;
      case "failed":
      case "interrupted":
      case "overloaded":
        this.span.fail(this.errorType ?? "internal_error");
    }
  }
}

/** OpenAI's bound of `n`. */
const mostChoices = 128;

const finishReasons: ReadonlySet<unknown> = new Set<FinishReason>([
  "stop",
  "length",
  "tool_calls",
  "content_filter",
  "function_call",
]);

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}
