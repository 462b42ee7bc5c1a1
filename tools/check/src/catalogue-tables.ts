// The metric catalogue as tables for people, one for each part of the platform.
import { code, markdownTable } from "./markdown.ts";

/** Like an entry of the catalogue of @ectus/monitoring. */
export interface Metric {
  readonly type: string;
  readonly help: string;
  readonly labels: Readonly<Record<string, LabelRule>>;
  readonly usedBy: readonly string[];
  readonly buckets?: readonly number[];
  readonly bucketsWhy?: string;
  readonly native?: boolean;
}

type LabelRule = { readonly values: readonly string[] } | { readonly about: string; readonly atMost: number };

/** A heading, the metrics below it by their name's start, and what is said of them. */
const parts: readonly { readonly heading: string; readonly start: RegExp }[] = [
  { heading: "HTTP", start: /^http_/ },
  { heading: "AI", start: /^ai_/ },
  { heading: "Database", start: /^db_/ },
  { heading: "Customer lifecycle", start: /^export_/ },
  { heading: "The platform and its monitoring", start: /^(ectus|metrics|traces?|log)_/ },
  { heading: "Process and Node.js", start: /^(process|nodejs)_/ },
];

/** All metrics in tables. @throws Error for a metric that no part takes */
export function catalogueTables(catalogue: Readonly<Record<string, Metric>>): string {
  const rest = new Map(Object.entries(catalogue));
  let text = "";
  for (const { heading, start } of parts) {
    const rows: string[][] = [];
    for (const [name, metric] of rest) {
      if (!start.test(name)) continue;
      rest.delete(name);
      rows.push([code(name), typeOf(metric), labelsOf(metric), metric.help, metric.usedBy.join(", ")]);
    }
    text += `### ${heading}\n\n${markdownTable(["Metric", "Type", "Labels", "What it says", "For"], rows)}\n`;
  }
  if (rest.size > 0) throw new Error(`No part of MONITORING.md takes ${[...rest.keys()].join(", ")}.`);
  return text;
}

/** Bounds of classic buckets, with the metrics that share them and the reason. */
export function bucketTables(catalogue: Readonly<Record<string, Metric>>): string {
  const byBuckets = new Map<string, { readonly why: string; readonly names: string[] }>();
  for (const [name, { buckets, bucketsWhy = "" }] of Object.entries(catalogue)) {
    if (buckets === undefined) continue;
    const key = buckets.join(", ");
    const found = byBuckets.get(key) ?? { why: bucketsWhy, names: [] };
    found.names.push(code(name));
    byBuckets.set(key, found);
  }
  const rows = [...byBuckets].map(([buckets, { why, names }]) => [names.join(", "), buckets, why]);
  return markdownTable(["Histograms", "Classic buckets", "Why"], rows);
}

function typeOf({ type, native }: Metric): string {
  return native ? `${type}, native too` : type;
}

function labelsOf({ labels }: Metric): string {
  return Object.entries(labels)
    .map(([name, rule]) =>
      "values" in rule
        ? `${code(name)}: ${rule.values.map((value) => code(value)).join(", ")}`
        : `${code(name)}: ${rule.about} (at most ${rule.atMost})`,
    )
    .join("; ");
}
