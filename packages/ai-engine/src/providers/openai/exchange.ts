// One HTTP exchange with an upstream through undici's dispatch API: body out, and either the whole answer or its
// bytes as they arrive. It is undici's leanest interface; request() adds a stream object per call, fetch() far more.
import { EctusError, errorMessage } from "@ectus/core";
import { errorTypeOf, type Span } from "@ectus/monitoring";
import type { Dispatcher } from "undici";
import { type ExchangeEnd, endExchangeSpan } from "./exchange-span.ts";
import type { UpstreamAnswer } from "./failures.ts";

/** Takes the bytes of an event stream. `fail` and `end` are called at most once, one of them. */
export interface ByteSink {
  push(bytes: Buffer): void;
  end(): void;
  fail(error: EctusError): void;
}

/** Steers the connection from the reading side. */
export interface Flow {
  pause(): void;
  resume(): void;
  /** All that was asked for has come. What follows is the connection's, which ends by itself. */
  complete(): void;
  /** Closes the connection; nothing more arrives. */
  stop(): void;
}

export interface ExchangeOptions {
  readonly provider: string;
  readonly path: string;
  readonly headers: string[];
  readonly body: string;
  readonly signal: AbortSignal;
  /** What the exchange is recorded as, until its answer is over. */
  readonly span: Span | undefined;
  /** Bound of the whole answer; of a stream, until its headers. */
  readonly timeoutMs: number;
  /** Bound of silence within a stream that is being read. */
  readonly idleTimeoutMs: number;
  /** Bound of an answer that is collected. */
  readonly maxAnswerBytes: number;
  /** Given when the caller wants an event stream: makes what takes its bytes. */
  readonly openSink?: (flow: Flow) => ByteSink;
}

/** A failure before any headers: the connection's, so that the request may be tried again. */
export class ConnectionFailure extends Error {}

/**
 * Sends one request. Resolves with the answer once it is complete, or, if `openSink` is given and the upstream
 * answers with an event stream, with an empty body as soon as the headers are there.
 *
 * Rejects with `ConnectionFailure`, or an EctusError `upstream_error`, `upstream_timeout` or `client_closed_request`.
 */
export function exchange(
  dispatcher: Pick<Dispatcher, "dispatch">,
  options: ExchangeOptions,
): Promise<UpstreamAnswer> {
  return new Promise((resolve, reject) => {
    const running = new Exchange(options, resolve, reject);
    if (!running.start()) return;
    try {
      dispatcher.dispatch(
        {
          path: options.path,
          method: "POST",
          headers: options.headers,
          body: options.body,
          // The exchange's own timer is exact and covers connecting and collecting too.
          headersTimeout: 0,
          bodyTimeout: options.openSink === undefined ? 0 : options.idleTimeoutMs,
        },
        running,
      );
    } catch (error) {
      running.onResponseError(null, error instanceof Error ? error : new Error(errorMessage(error)));
    }
  });
}

class Exchange implements Dispatcher.DispatchHandler, Flow {
  readonly #options: ExchangeOptions;
  readonly #resolve: (answer: UpstreamAnswer) => void;
  readonly #reject: (error: Error) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #status = 0;
  #headers: UpstreamAnswer["headers"] = {};
  #parts: Buffer[] = [];
  #size = 0;
  #sink: ByteSink | undefined;

  constructor(
    options: ExchangeOptions,
    resolve: (answer: UpstreamAnswer) => void,
    reject: (error: Error) => void,
  ) {
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** False if there is nothing to send any more. */
  start(): boolean {
    const { signal, timeoutMs } = this.#options;
    if (signal.aborted) {
      this.#fail(new EctusError("client_closed_request"));
      return false;
    }
    // An object as listener needs no closure.
    signal.addEventListener("abort", this);
    this.#timer = setTimeout(timeOut, timeoutMs, this);
    return true;
  }

  /** The signal's "abort" event. */
  handleEvent(): void {
    this.#fail(new EctusError("client_closed_request"));
    this.#close();
  }

  timedOut(): void {
    const { provider, timeoutMs } = this.#options;
    this.#fail(new EctusError("upstream_timeout", { provider, timeoutMs }));
    this.#close();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#over) this.#close();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) return;
    this.#controller = controller;
    this.#status = status;
    this.#headers = headers;
    const { openSink, span } = this.#options;
    if (openSink === undefined || status !== 200 || !isEventStream(headers)) return;
    clearTimeout(this.#timer);
    // Where the end is far from it.
    span?.addEvent("http.response.head");
    this.#sink = openSink(this);
    this.#resolve({ status, headers, body: "" });
  }

  onResponseData(_controller: Dispatcher.DispatchController, bytes: Buffer): void {
    if (this.#sink !== undefined) {
      this.#sink.push(bytes);
      return;
    }
    this.#size += bytes.length;
    if (this.#size > this.#options.maxAnswerBytes) {
      this.#fail(this.#upstreamError(`its answer is larger than ${this.#options.maxAnswerBytes} bytes`));
      this.#close();
      return;
    }
    this.#parts.push(bytes);
  }

  onResponseEnd(): void {
    if (this.#over) return;
    this.#finish({ how: "answered" });
    if (this.#sink !== undefined) {
      this.#sink.end();
      return;
    }
    const [first] = this.#parts;
    const whole = this.#parts.length === 1 && first !== undefined ? first : Buffer.concat(this.#parts);
    this.#resolve({ status: this.#status, headers: this.#headers, body: whole.toString("utf8") });
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.#fail(this.#connectionError(error));
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  complete(): void {
    this.#record({ how: "answered" });
  }

  stop(): void {
    if (this.#over) return;
    this.#finish({ how: "stopped" });
    this.#close();
  }

  #fail(error: Error): void {
    if (this.#over) return;
    this.#finish(endOf(error));
    if (this.#sink === undefined) this.#reject(error);
    else this.#sink.fail(error instanceof EctusError ? error : this.#upstreamError(error.message));
  }

  #finish(end: ExchangeEnd): void {
    this.#over = true;
    this.#record(end);
    clearTimeout(this.#timer);
    this.#options.signal.removeEventListener("abort", this);
  }

  /** The first end counts: spans take nothing more after theirs. */
  #record(end: ExchangeEnd): void {
    const { span } = this.#options;
    if (span !== undefined) endExchangeSpan(span, this.#status, end);
  }

  #close(): void {
    this.#controller?.abort(new Error("The exchange is over."));
  }

  #connectionError(error: Error & { code?: unknown }): Error {
    const { provider, idleTimeoutMs, timeoutMs } = this.#options;
    switch (error.code) {
      case "UND_ERR_BODY_TIMEOUT":
        return new EctusError("upstream_timeout", { provider, timeoutMs: idleTimeoutMs }, { cause: error });
      case "UND_ERR_CONNECT_TIMEOUT":
        return new EctusError("upstream_timeout", { provider, timeoutMs }, { cause: error });
      case "UND_ERR_DESTROYED":
      case "UND_ERR_CLOSED":
      case "UND_ERR_INVALID_ARG":
        return this.#upstreamError("the request could not be sent", error);
      default:
        return this.#status === 0
          ? new ConnectionFailure(connectionReason(error), { cause: error })
          : this.#upstreamError("the connection broke before the end of its answer", error);
    }
  }

  #upstreamError(reason: string, cause?: Error): EctusError {
    return new EctusError(
      "upstream_error",
      { provider: this.#options.provider, reason },
      cause === undefined ? undefined : { cause },
    );
  }
}

function endOf(error: Error): ExchangeEnd {
  if (error instanceof EctusError && error.code === "client_closed_request") return { how: "aborted" };
  // Of a failed connection it says more what the system or undici calls it.
  return { how: "failed", errorType: errorTypeOf(error instanceof ConnectionFailure ? error.cause : error) };
}

function timeOut(running: Exchange): void {
  running.timedOut();
}

function isEventStream(headers: UpstreamAnswer["headers"]): boolean {
  const type = headers["content-type"];
  return typeof type === "string" && type.startsWith("text/event-stream");
}

// Messages of the operating system name addresses of the operator's network: only the code goes to the client.
function connectionReason(error: Error & { code?: unknown }): string {
  return typeof error.code === "string" && /^E[A-Z_]+$/.test(error.code)
    ? `the connection failed (${error.code})`
    : "the connection failed";
}
