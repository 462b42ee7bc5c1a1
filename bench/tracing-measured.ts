// What a process of the tracing bench measures.

export const recorders = ["ours", "opentelemetry"] as const;
export type Recorder = (typeof recorders)[number];

/** Of a request whose trace is dropped: CPU time, and memory that it takes meanwhile. */
interface Cost {
  readonly ns: number;
  readonly bytes: number;
}

export interface MeasuredRecording {
  /** Its root alone. */
  readonly one: Cost;
  /** Its root and three children. */
  readonly four: Cost;
}

export interface MeasuredExport {
  /** CPU time of a span that is kept, from its start to the receiver's answer. */
  readonly usPerSpan: number;
  /** The longest turn of the event loop. */
  readonly stallMs: number;
  /** The same with spans whose attributes are as long as they may be, 64 KB. */
  readonly longStallMs: number;
}
