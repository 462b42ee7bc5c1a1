// What this program adds to an answer of inference: the time from the request's head to the end of the answer's
// making, less waiting for the body's arrival, for the provider, and for the client.
import type { HistogramOf, Instruments, LabelsOf } from "@ectus/monitoring";
import type { FastifyInstance, FastifyReply, preParsingHookHandler } from "fastify";
import { exchangeOf } from "./exchange.ts";

type Overhead = "ai_gateway_overhead_seconds";

export interface InferenceWaits extends LabelsOf<Overhead> {
  /** Milliseconds that were spent waiting for the provider: for its answer, or for the chunks of a stream. */
  readonly providerMs: number;
  /** Milliseconds that were spent waiting for the client to take what was written for it; 0 for a whole answer. */
  readonly clientMs: number;
}

/**
 * To be called once by the route of an inference request that is answered: just before a whole answer is returned (it
 * ends when it is serialized, which is measured, too), or just after the end of a hijacked stream was written.
 * Requests that failed do not call it. Without metrics it does nothing.
 */
export function inferenceAnswered(reply: FastifyReply, waits: InferenceWaits): void {
  const timer = exchangeOf(reply.raw)?.overhead;
  if (timer === undefined) return;
  timer.waits = waits;
  // The framework tells when it sends a reply, unless that was hijacked.
  if (reply.sent) timer.answerEnds();
}

/** Times the answers of POST routes that are added from now on. After `addHttpMetrics`, whose times it uses. */
export function addGatewayOverhead(app: FastifyInstance, instruments: Instruments): void {
  if (!instruments.enabled) return;
  const histogram = instruments.histogram("ai_gateway_overhead_seconds");

  const bodyBegins: preParsingHookHandler = (request, reply, payload, done) => {
    const exchange = exchangeOf(reply.raw);
    if (exchange !== undefined) {
      const timer = new OverheadTimer(histogram, exchange.startedMs);
      exchange.overhead = timer;
      request.raw.once("end", () => timer.bodyEnds());
    }
    done(null, payload);
  };

  app.addHook("onRoute", (route) => {
    if (![route.method].flat().includes("POST")) return;
    route.preParsing = [route.preParsing ?? [], bodyBegins].flat();
    route.onSend = [
      route.onSend ?? [],
      (_request: unknown, reply: FastifyReply, payload: unknown, done: (e: null, p: unknown) => void) => {
        exchangeOf(reply.raw)?.overhead?.answerEnds();
        done(null, payload);
      },
    ].flat();
  });
}

/** The times of one request that may turn out to be of inference; made when the reading of its body begins. */
export class OverheadTimer {
  readonly #histogram: HistogramOf<Overhead>;
  readonly #startedMs: number;
  readonly #bodyBeganMs = performance.now();
  #bodyMs = 0;
  waits: InferenceWaits | undefined = undefined;

  constructor(histogram: HistogramOf<Overhead>, startedMs: number) {
    this.#histogram = histogram;
    this.#startedMs = startedMs;
  }

  bodyEnds(): void {
    this.#bodyMs = performance.now() - this.#bodyBeganMs;
  }

  answerEnds(): void {
    if (this.waits === undefined) return;
    const { operation, providerMs, clientMs } = this.waits;
    // An answer that cannot be sent is made anew, as an error.
    this.waits = undefined;
    const ms = performance.now() - this.#startedMs - this.#bodyMs - providerMs - clientMs;
    // Others measured the waits, which may add up to a little more than the whole.
    this.#histogram.labels({ operation }).observe(Math.max(ms, 0) / 1_000);
  }
}
