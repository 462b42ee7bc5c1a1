// What a drill finds out, besides its timeline: filled while it runs, so that one that fails has it, too.
import type { CustomerView } from "./rig/traffic.ts";

/** Seconds. */
export interface Durations {
  /** From the fault to the alert that fires. */
  readonly detect: number | null;
  /** From there to the last notification that it must send. */
  readonly notify: number | null;
  /** From the mitigation to the last message that says so. */
  readonly resolve: number | null;
}

/** What the report says besides the timeline. */
export interface Findings {
  durations: Durations;
  readonly customers: { readonly phase: string; readonly view: CustomerView }[];
  readonly answers: { readonly line: number; readonly expression: string; readonly answer: string }[];
  /** Alerts that were raised besides the one that the drill is about. */
  readonly others: Set<string>;
}

export const newFindings = (): Findings => ({
  durations: { detect: null, notify: null, resolve: null },
  customers: [],
  answers: [],
  others: new Set(),
});
