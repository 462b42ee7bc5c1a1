// Ends what a group of metrics shows.
import type { Instrument } from "../instruments.ts";

/** They are not collected any more and have no series. */
export function withdraw(
  ...instruments: readonly Pick<Instrument<never, unknown>, "clear" | "stopCollecting">[]
): void {
  for (const instrument of instruments) {
    instrument.stopCollecting();
    instrument.clear();
  }
}
