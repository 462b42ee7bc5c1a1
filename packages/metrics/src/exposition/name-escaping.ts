// Writes names of any characters so that a scraper can read them that takes only ASCII letters, digits and "_". The
// rules are those of model.EscapeName in https://github.com/prometheus/common (model/metric.go), which Prometheus's
// own clients use: https://prometheus.io/docs/instrumenting/escaping_schemes/
import { classicLabelName, classicMetricName } from "../names.ts";
import type { Escaping } from "./format.ts";

/** A name that every scraper can read is never changed. */
export function escapeMetricName(name: string, escaping: Escaping): string {
  return classicMetricName.test(name) ? name : escapeName(name, escaping);
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
