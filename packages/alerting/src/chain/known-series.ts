// Every series that an expression may ask for: those of the catalogue, of other programs, and those that rules record.
// For each its labels, with the values that they can have, and the metrics that it is made from.
import type { CatalogueEntry, ExternalSeries, LabelRule } from "@ectus/monitoring";
import type { RecordingRule } from "../rule-files.ts";
import { labelsOfResult } from "./result-labels.ts";

export type Labels = ReadonlyMap<string, LabelRule>;

/** The labels of a vector. */
export interface Shape {
  /** What they can be. */
  readonly labels: Labels;
  /** Those that every sample has. Of `a or b` the labels of only one side are not among them. */
  readonly sure: ReadonlySet<string>;
  /** It can have others as well. */
  readonly anyLabel: boolean;
}

export interface Series extends Shape {
  /** Left out where it is not known, as of recorded series. */
  readonly kind?: "counter" | "gauge";
  /** Names of metrics of the catalogue or of other programs. */
  readonly madeFrom: ReadonlySet<string>;
}

export interface KnownSeries {
  /** Undefined for a name that nothing exposes or records. */
  readonly find: (name: string) => Series | undefined;
  /** The name of an existing series that somebody may have meant. */
  readonly nearest: (name: string) => string | undefined;
}

/** Where series come from, apart from rules. */
export interface SeriesSources {
  readonly catalogue: Readonly<Record<string, CatalogueEntry>>;
  readonly externalSeries: Readonly<Record<string, ExternalSeries>>;
  /** Names of Prometheus's own series that every job has, as `up`. */
  readonly syntheticSeries: readonly string[];
  readonly targetLabels: Readonly<Record<string, LabelRule>>;
}

/** The scrape job of each program, as k8s/prometheus names it. */
const jobOf: Readonly<Record<ExternalSeries["program"], string>> = {
  prometheus: "prometheus",
  alertmanager: "alertmanager",
  node_exporter: "node",
  "kube-state-metrics": "kube-state-metrics",
  jaeger: "jaeger",
};

const bucketBound: LabelRule = { about: "the upper bound of a bucket", atMost: Number.POSITIVE_INFINITY };
const quantile: LabelRule = { about: "a quantile", atMost: Number.POSITIVE_INFINITY };

export function knownSeries(sources: SeriesSources, recordings: readonly RecordingRule[]): KnownSeries {
  const exposed = exposedSeries(sources);
  const rules = Map.groupBy(recordings, ({ name }) => name.value);
  const recorded = new Map<string, Series>();
  const underWay = new Set<string>();

  const find = (name: string): Series | undefined => {
    const found = exposed.get(name) ?? recorded.get(name);
    const own = rules.get(name);
    // A series that is recorded from itself has no labels that could be told; Prometheus never has a first value for it.
    if (found !== undefined || own === undefined || underWay.has(name)) return found;
    underWay.add(name);
    const series = own.map((rule) => recordedSeries(rule, known)).reduce(eitherSeries);
    underWay.delete(name);
    recorded.set(name, series);
    return series;
  };
  const nearest = (name: string) => {
    const names = [...exposed.keys(), ...rules.keys()];
    const [best] = names
      .map((known) => ({ known, distance: distance(name, known) }))
      .sort((a, b) => a.distance - b.distance);
    return best !== undefined && best.distance <= Math.max(3, name.length / 4) ? best.known : undefined;
  };
  const known: KnownSeries = { find, nearest };
  return known;
}

/** One of two: it has the labels of either, and surely those of both. */
export function either(one: Shape, other: Shape): Shape {
  const labels = new Map(one.labels);
  for (const [name, rule] of other.labels) {
    const first = labels.get(name);
    labels.set(name, first === undefined ? rule : eitherRule(first, rule));
  }
  return { labels, sure: one.sure.intersection(other.sure), anyLabel: one.anyLabel || other.anyLabel };
}

export function has({ labels, anyLabel }: Shape, name: string): boolean {
  return anyLabel || labels.has(name) || name === "__name__";
}

export function noSuchLabel(what: string, label: string, { labels }: Shape): string {
  return `${what} has no label ${label}. It has ${labels.size === 0 ? "none" : [...labels.keys()].join(", ")}.`;
}

function eitherSeries(one: Series, other: Series): Series {
  return {
    ...either(one, other),
    ...(one.kind !== undefined && one.kind === other.kind && { kind: one.kind }),
    madeFrom: one.madeFrom.union(other.madeFrom),
  };
}

function eitherRule(one: LabelRule, other: LabelRule): LabelRule {
  if (!("values" in one)) return one;
  return "values" in other ? { values: [...new Set([...one.values, ...other.values])] } : other;
}

function recordedSeries(rule: RecordingRule, known: KnownSeries): Series {
  const { shape, metrics } = labelsOfResult(rule.expression, known);
  const labels = new Map(shape.labels);
  const sure = new Set(shape.sure);
  for (const [name, { value }] of rule.labels) {
    labels.set(name, { values: [value] });
    sure.add(name);
  }
  const madeFrom = new Set(metrics.flatMap((name) => [...(known.find(name)?.madeFrom ?? [])]));
  return { labels, sure, anyLabel: shape.anyLabel, madeFrom };
}

function exposedSeries(sources: SeriesSources): ReadonlyMap<string, Series> {
  const found = new Map<string, Series>();
  const add = (
    name: string,
    madeFrom: string,
    kind: Series["kind"],
    own: Readonly<Record<string, LabelRule>>,
    job: string | undefined,
    anyLabel: boolean,
  ) => {
    const labels = new Map(Object.entries({ ...sources.targetLabels, ...own }));
    if (job !== undefined) labels.set("job", { values: [job] });
    const series: Series = {
      labels,
      sure: new Set(labels.keys()),
      anyLabel,
      madeFrom: new Set([madeFrom]),
      ...(kind && { kind }),
    };
    const other = found.get(name);
    found.set(name, other === undefined ? series : eitherSeries(series, other));
  };
  const addAll = (
    name: string,
    type: string,
    own: Readonly<Record<string, LabelRule>>,
    job: string | undefined,
    anyLabel = false,
  ) => {
    for (const [suffix, extra] of suffixesOf(type))
      add(name + suffix, name, kindOf(type, suffix), { ...own, ...extra }, job, anyLabel);
  };
  for (const [name, entry] of Object.entries(sources.catalogue)) {
    addAll(name, entry.type, entry.labels, "ectus");
    const bucket = found.get(`${name}_bucket`);
    if (bucket === undefined || entry.type !== "histogram") continue;
    const le = { values: [...entry.buckets, Number.POSITIVE_INFINITY].map(boundText) };
    found.set(`${name}_bucket`, { ...bucket, labels: new Map([...bucket.labels, ["le", le]]) });
  }
  for (const [name, { program, type, labels, anyLabel }] of Object.entries(sources.externalSeries)) {
    const ofEveryJob = sources.syntheticSeries.includes(name);
    addAll(name, type, labels, ofEveryJob ? undefined : jobOf[program], anyLabel);
  }
  return found;
}

/** The series of a metric: what follows its name, with the labels that come with it. */
function suffixesOf(
  type: string,
): readonly (readonly [suffix: string, labels: Readonly<Record<string, LabelRule>>])[] {
  if (type === "histogram")
    return [
      ["_bucket", { le: bucketBound }],
      ["_count", {}],
      ["_sum", {}],
    ];
  if (type === "summary")
    return [
      ["", { quantile }],
      ["_count", {}],
      ["_sum", {}],
    ];
  return [["", {}]];
}

/** The bound of a bucket as Prometheus stores it since its version 3: whole ones as "1.0", however they are exposed. */
function boundText(bound: number): string {
  if (bound === Number.POSITIVE_INFINITY) return "+Inf";
  // Go writes what is small or large with an exponent, of at least two digits.
  if (bound >= 1e6 || (bound > 0 && bound < 1e-4))
    return bound.toExponential().replace(/(?<=e[+-])\d$/, "0$&");
  return Number.isInteger(bound) ? `${bound}.0` : String(bound);
}

/** Of a histogram and a summary, counts and sums only grow. */
function kindOf(type: string, suffix: string): Series["kind"] {
  if (type === "counter" || suffix !== "") return "counter";
  return type === "gauge" ? "gauge" : undefined;
}

/** How many characters have to be changed, put in or taken out to make one of the other (Levenshtein). */
function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let line = 1; line <= one.length; line++) {
    const next = [line];
    for (let column = 1; column <= other.length; column++) {
      const replaced = (row[column - 1] ?? 0) + (one[line - 1] === other[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
