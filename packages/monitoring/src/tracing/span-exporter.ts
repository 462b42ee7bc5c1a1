// What takes spans out of the process. An exporter tries once; the export loop tries again.
import type { ReadableSpan } from "@opentelemetry/sdk-trace";

/** What became of a batch. Reasons are short and of few kinds: they are logged, and hold no address or header. */
export type Delivery =
  /** The receiver has it, but for `rejected` spans of it. */
  | { readonly outcome: "taken"; readonly rejected: number }
  /** The receiver will never take it. */
  | { readonly outcome: "refused"; readonly reason: string }
  /** The receiver may take it later. */
  | {
      readonly outcome: "failed";
      readonly reason: string;
      /** When the receiver said that it may be tried again: milliseconds from now. */
      readonly retryAfterMs: number | undefined;
      /** Whether there is a receiver at all. */
      readonly isReachable: boolean;
    };

export interface SpanExporter {
  /**
   * Does not reject. An aborted one has failed.
   *
   * @param batch in parts, each made when it is asked for: small enough to be serialized in one turn of the event loop
   */
  send(batch: Iterable<readonly ReadableSpan[]>, signal: AbortSignal): Promise<Delivery>;
  /** Frees what it holds. */
  close(): void;
}
