// Writes names of any characters so that a scraper can read them that takes only ASCII letters, digits and "_". The
// rules are those of model.EscapeName in https://github.com/prometheus/common (model/metric.go), which Prometheus's
// own clients use: https://prometheus.io/docs/instrumenting/escaping_schemes/
import { classicLabelName, classicMetricName } from "../names.ts";
import type { AnyMetric } from "../registry.ts";
import type { EncoderOptions } from "./encoder.ts";
import type { Escaping } from "./format.ts";

/** The names under which the series of a metric are shown, and its own. */
export function seriesNames({ type }: Pick<AnyMetric, "type">, name: string): readonly string[] {
  return type === "histogram" ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];
}

/**
 * What metrics are called in one exposition. Two that would become the same are kept apart by a "_" in front, which
 * leaves the unit and `_total` at the end; a name that every scraper can read is never changed.
 */
export function escapeMetricNames(
  metrics: readonly AnyMetric[],
  escaping: Escaping,
): ReadonlyMap<AnyMetric, string> {
  const names = new Map(metrics.map((metric) => [metric, metric.name]));
  const unreadable = metrics.filter(({ name }) => !classicMetricName.test(name));
  if (escaping === "allow-utf-8" || unreadable.length === 0) return names;
  const taken = new Set<string>();
  for (const metric of metrics)
    if (classicMetricName.test(metric.name))
      for (const name of seriesNames(metric, metric.name)) taken.add(name);
  for (const metric of unreadable) {
    let escaped = escapeName(metric.name, escaping);
    while (seriesNames(metric, escaped).some((name) => taken.has(name))) escaped = `_${escaped}`;
    for (const name of seriesNames(metric, escaped)) taken.add(name);
    names.set(metric, escaped);
  }
  return names;
}

/** A label as the series of one metric show it. */
export interface ShownLabel {
  readonly name: string;
  /** The default label's value, for series that leave the label out. */
  readonly fallback: string | undefined;
}

/** The labels of a metric in their order, then the default labels that it does not have itself. */
export function shownLabels(
  { labelNames: own, type }: Pick<AnyMetric, "labelNames" | "type">,
  { escaping, defaultLabels }: EncoderOptions,
): readonly ShownLabel[] {
  // The label le of a histogram is that of its buckets.
  const added = Object.keys(defaultLabels).filter(
    (name) => !own.includes(name) && !(name === "le" && type === "histogram"),
  );
  const names = [...own, ...added];
  const escaped = escapeLabelNames(names, escaping);
  return names.map((name, index) => ({
    name: escaped[index] as string,
    fallback: Object.hasOwn(defaultLabels, name) ? String(defaultLabels[name]) : undefined,
  }));
}

/**
 * The label names of one metric. Unlike EscapeName it also replaces ":", which a classic label name cannot have, and
 * keeps apart names that would become the same: a label that occurs twice makes Prometheus refuse the whole scrape.
 */
export function escapeLabelNames(names: readonly string[], escaping: Escaping): readonly string[] {
  if (escaping === "allow-utf-8" || names.every((name) => classicLabelName.test(name))) return names;
  const taken = new Set(names.filter((name) => classicLabelName.test(name)));
  return names.map((name) => {
    if (classicLabelName.test(name)) return name;
    let escaped = escapeName(name, escaping, false);
    while (taken.has(escaped)) escaped += "_";
    taken.add(escaped);
    return escaped;
  });
}

/** model.EscapeName. */
export function escapeName(name: string, escaping: Escaping, allowColon = true): string {
  if (escaping === "allow-utf-8" || name === "") return name;
  const isClassic = (allowColon ? classicMetricName : classicLabelName).test(name);
  // Dots are the one scheme that changes classic names, too: else "_" could not be told from what it stands for.
  if (isClassic && escaping !== "dots") return name;
  let escaped = escaping === "values" ? "U__" : "";
  let isFirst = true;
  for (const character of name) {
    escaped += escapeCharacter(character, escaping, isFirst, allowColon);
    isFirst = false;
  }
  return escaped;
}

function escapeCharacter(
  character: string,
  escaping: Escaping,
  isFirst: boolean,
  allowColon: boolean,
): string {
  const isPlain =
    /^[a-zA-Z]$/.test(character) ||
    (allowColon && character === ":") ||
    (!isFirst && /^[0-9]$/.test(character));
  if (isPlain) return character;
  if (escaping === "underscores") return "_";
  if (character === "_") return "__";
  if (escaping === "dots") return character === "." ? "_dot_" : "__";
  return `_${(character.codePointAt(0) as number).toString(16)}_`;
}
