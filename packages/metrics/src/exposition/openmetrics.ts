// OpenMetrics 1.0: https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
import type { Exemplar } from "../exemplar.ts";
import type { Encoder, EncoderOptions } from "./encoder.ts";
import type { Escaping } from "./format.ts";
import { escapeQuoted, labelNameText, metricNameText, quote } from "./label-text.ts";
import { numberText } from "./line-writer.ts";
import { createLineEncoder } from "./lines.ts";
import { escapeLabelNames } from "./name-escaping.ts";

const total = "_total";

export function createOpenMetricsEncoder(options: EncoderOptions): Encoder {
  return createLineEncoder(
    {
      header(metric, name) {
        const isCounter = metric.type === "counter";
        // The samples of a counter end with _total, and its name is without. One that is not called so would have to
        // change its name with the format; as one of unknown type it keeps it.
        const isUnknown = isCounter && !name.endsWith(total);
        const family = isCounter && !isUnknown ? name.slice(0, -total.length) : name;
        const familyText = metricNameText(family);
        const { unit } = metric;
        // A unit that the name does not end with would make the whole exposition invalid.
        const hasUnit = unit !== undefined && /^\w+$/.test(unit) && family.endsWith(`_${unit}`);
        return (
          `# HELP ${familyText} ${escapeQuoted(metric.help)}\n` +
          `# TYPE ${familyText} ${isUnknown ? "unknown" : metric.type}\n` +
          (hasUnit ? `# UNIT ${familyText} ${unit}\n` : "")
        );
      },
      separator: "",
      end: "# EOF\n",
      bound: canonicalNumber,
      exemplar: (exemplar) => exemplarText(exemplar, options.escaping),
      hasExemplars: (name) => name.endsWith(total),
    },
    options,
  );
}

/**
 * As OpenMetrics wants bounds, so that the same bound is the same label value whoever exposes it: what Go prints with
 * %g, and ".0" for an integer.
 */
export function canonicalNumber(value: number): string {
  if (!Number.isFinite(value)) return numberText(value);
  const [digits = "", exponentText = "0"] = value.toExponential().split("e");
  const exponent = Number(exponentText);
  if (value !== 0 && (exponent < -4 || exponent >= 6))
    return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  const text = String(value);
  return text.includes(".") ? text : `${text}.0`;
}

function exemplarText({ labels, value, timestampMs }: Exemplar, escaping: Escaping): string {
  const own = Object.keys(labels);
  if (own.length === 0) return "";
  const names = escapeLabelNames(own, escaping);
  const pairs = own.map(
    (name, index) => `${labelNameText(names[index] as string)}=${quote(labels[name] as string)}`,
  );
  // Prometheus takes a NUL for the end of the exposition, but in the labels of series.
  const text = pairs.join(",").replaceAll("\0", "\ufffd");
  return ` # {${text}} ${numberText(value)} ${timestampMs / 1000}`;
}
