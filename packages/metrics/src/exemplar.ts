// An example of what was counted: the labels that lead to it, usually a trace id.
import type { LabelValue } from "./series-table.ts";

export interface Exemplar {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** Milliseconds since 1970. */
  readonly timestampMs: number;
}

export type ExemplarLabels = Readonly<Record<string, LabelValue | undefined>>;

/** OpenMetrics 1.0, section "Exemplars": names and values together have at most 128 UTF-8 characters. */
const mostCharacters = 128;

/**
 * Undefined when there is no label with a value.
 * @throws RangeError when the labels are longer than the format allows
 */
export function createExemplar(given: ExemplarLabels, value: number): Exemplar | undefined {
  const labels: [string, string][] = [];
  let characters = 0;
  for (const [name, labelValue] of Object.entries(given)) {
    if (labelValue === undefined) continue;
    const text = String(labelValue);
    characters += [...name].length + [...text].length;
    labels.push([name, text]);
  }
  if (characters > mostCharacters)
    throw new RangeError(`got exemplar labels of ${characters} characters, accepts ${mostCharacters}`);
  return labels.length === 0
    ? undefined
    : { labels: Object.fromEntries(labels), value, timestampMs: Date.now() };
}
