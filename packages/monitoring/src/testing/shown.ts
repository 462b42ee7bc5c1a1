// What a scrape of the text format shows, for tests.
import { Registry } from "@ectus/metrics";
import { createInstruments, type Instruments } from "../instruments.ts";

export interface Shown {
  readonly registry: Registry;
  readonly instruments: Instruments;
  /** A scrape: values by series, as `name` or `name{label="value"}`. */
  scrape(): Promise<ReadonlyMap<string, number>>;
  /** The value of a series in a new scrape; NaN when it is not there. */
  value(series: string): Promise<number>;
}

export function createShown(): Shown {
  const registry = new Registry();
  async function scrape(): Promise<ReadonlyMap<string, number>> {
    const text = await registry.metrics({
      onCollectError: (metric, error) => {
        throw new Error(`collect of ${metric} failed`, { cause: error });
      },
    });
    return readText(text);
  }
  return {
    registry,
    instruments: createInstruments(registry),
    scrape,
    value: async (series) => (await scrape()).get(series) ?? Number.NaN,
  };
}

export function readText(text: string): ReadonlyMap<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const at = line.lastIndexOf(" ");
    if (!line.startsWith("#") && at > 0) values.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return values;
}

/** Holds the event loop. */
export function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
