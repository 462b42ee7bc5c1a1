// Prometheus's own text format, 0.0.4 and 1.0.0: https://prometheus.io/docs/instrumenting/exposition_formats/
// What is between lines is as the official client has it, so that both print the same.
import type { Encoder, EncoderOptions } from "./encoder.ts";
import { escapeText, metricNameText } from "./label-text.ts";
import { createLineEncoder, type Dialect } from "./lines.ts";

export function createTextEncoder(options: EncoderOptions): Encoder {
  return createLineEncoder(text, options);
}

const text: Dialect = {
  header: (metric, name) =>
    `# HELP ${metricNameText(name)} ${escapeText(metric.help)}\n# TYPE ${metricNameText(name)} ${metric.type}\n`,
  separator: "\n",
  end: "",
  bound: String,
  hasExemplars: () => false,
};
