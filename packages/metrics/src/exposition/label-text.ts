// How labels, names and help are written in the text formats: https://prometheus.io/docs/instrumenting/exposition_formats/

import { classicLabelName, classicMetricName } from "../names.ts";
import type { AnyMetric } from "../registry.ts";
import type { Series } from "../series-table.ts";
import type { EncoderOptions } from "./encoder.ts";
import { shownLabels } from "./name-escaping.ts";

/** Escapes backslashes and line feeds. */
export function escapeText(text: string): string {
  return /[\\\n]/.test(text) ? text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n") : text;
}

/** Escapes double quotes, too. */
export function escapeQuoted(text: string): string {
  return /[\\\n"]/.test(text) ? escapeText(text).replaceAll('"', '\\"') : text;
}

export function quote(text: string): string {
  return `"${escapeQuoted(text)}"`;
}

/** A metric name where it stands outside of braces. */
export function metricNameText(name: string): string {
  return classicMetricName.test(name) ? name : quote(name);
}

export function labelNameText(name: string): string {
  return classicLabelName.test(name) ? name : quote(name);
}

const closing = Buffer.from("} ");
const openingBrace = 0x7b;
const comma = 0x2c;
const quotationMark = 0x22;

/** The labels of one metric's series as bytes, which are good until those of the next series are asked for. */
export class LabelText {
  /** Default labels that no series of the metric has, each as `,name="value"`. */
  readonly defaults: string;
  readonly #table: AnyMetric["table"];
  readonly #starts: readonly Uint8Array[];
  readonly #fallbacks: readonly (string | undefined)[];
  readonly #end: Uint8Array;
  #bytes: Buffer = Buffer.allocUnsafe(512);

  constructor(metric: AnyMetric, options: EncoderOptions) {
    this.#table = metric.table;
    const labels = shownLabels(metric, options);
    const own = labels.slice(0, metric.labelNames.length);
    this.defaults = labels
      .slice(own.length)
      .map(({ name, fallback }) => `,${labelNameText(name)}=${quote(fallback as string)}`)
      .join("");
    this.#starts = own.map(({ name }) => Buffer.from(`,${labelNameText(name)}="`));
    this.#fallbacks = own.map(({ fallback }) => fallback);
    // Those of a histogram stand after le.
    this.#end = metric.type === "histogram" ? closing : Buffer.from(`${this.defaults}} `);
  }

  /** As they follow what has opened the braces: `,method="GET"} `. */
  of({ slot }: Series): Uint8Array {
    const starts = this.#starts;
    const texts = this.#table.textsAt(slot);
    let length = 0;
    for (let index = 0; index < starts.length; index += 1) {
      // Empty where the series does not have the label.
      const value = texts[index] || this.#fallbacks[index];
      if (value === undefined) continue;
      const start = starts[index] as Uint8Array;
      const text = escapeQuoted(value);
      this.#reserve(length, start.length + text.length * 3 + 1);
      this.#bytes.set(start, length);
      length += start.length;
      length += this.#bytes.write(text, length);
      this.#bytes[length] = quotationMark;
      length += 1;
    }
    this.#reserve(length, this.#end.length);
    this.#bytes.set(this.#end, length);
    return this.#bytes.subarray(0, length + this.#end.length);
  }

  #reserve(used: number, more: number): void {
    if (used + more <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe((used + more) * 2);
    grown.set(this.#bytes.subarray(0, used));
    this.#bytes = grown;
  }
}

/** Makes labels that follow an open brace into such as open it themselves: `{method="GET"} `, or a space for none. */
export function opened(labels: Uint8Array): Uint8Array {
  if (labels[0] !== comma) return labels.subarray(1);
  labels[0] = openingBrace;
  return labels;
}
