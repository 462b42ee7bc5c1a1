// Which format a scraper wants, by its Accept header: RFC 9110, section 12.5.1. What Prometheus sends is made by
// acceptHeader in https://github.com/prometheus/prometheus/blob/main/scrape/scrape.go
import type { Escaping, Format } from "./format.ts";

/** The format for an Accept header; text 0.0.4 when it asks for none that there is. */
export function negotiate(accept: string | undefined): Format {
  const ranges = parseAccept(accept ?? "");
  let best: { readonly offer: Offer; readonly range: MediaRange; readonly specificity: number } | undefined;
  for (const offer of offers) {
    // The most specific range decides whether, and how much, a format is wanted.
    let range: MediaRange | undefined;
    let specificity = 0;
    for (const candidate of ranges) {
      const match = matches(candidate, offer);
      if (match > specificity) [range, specificity] = [candidate, match];
    }
    if (range === undefined || range.quality === 0) continue;
    if (best === undefined || isWantedMore(range, specificity, best)) best = { offer, range, specificity };
  }
  return formatOf(best?.offer ?? text004, escapingOf(best?.range, ranges));
}

/** The Content-Type of an exposition. */
export function contentTypeOf(format: Format): string {
  const escaping = `; escaping=${format.escaping}`;
  switch (format.kind) {
    case "text":
      // 0.0.4 has no such parameter; it is told only to those who asked for what is not the rule there.
      return `text/plain; version=${format.version}; charset=utf-8${
        format.version === "0.0.4" && format.escaping === "underscores" ? "" : escaping
      }`;
    case "openmetrics":
      return `application/openmetrics-text; version=${format.version}; charset=utf-8${escaping}`;
    case "protobuf":
      return `application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited${escaping}`;
  }
}

/** One format that there is, without its escaping. */
interface Offer {
  readonly type: string;
  readonly subtype: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** A range without these parameters does not mean this format. */
  readonly required: readonly string[];
}

const text004: Offer = {
  type: "text",
  subtype: "plain",
  parameters: { version: "0.0.4", charset: "utf-8" },
  required: [],
};
const text100: Offer = { ...text004, parameters: { version: "1.0.0", charset: "utf-8" } };
const openMetrics: Offer = {
  type: "application",
  subtype: "openmetrics-text",
  parameters: { version: "1.0.0", charset: "utf-8" },
  required: [],
};
const protobuf: Offer = {
  type: "application",
  subtype: "vnd.google.protobuf",
  parameters: { proto: "io.prometheus.client.metricfamily", encoding: "delimited" },
  // There are other encodings (text, compact-text) and any number of other messages.
  required: ["proto", "encoding"],
};

/** In the order in which they are given to a scraper that likes them equally. */
const offers = [text004, text100, openMetrics, protobuf];

function formatOf(offer: Offer, escaping: Escaping | undefined): Format {
  if (offer === text004) return { kind: "text", version: "0.0.4", escaping: escaping ?? "underscores" };
  if (offer === text100) return { kind: "text", version: "1.0.0", escaping: escaping ?? "underscores" };
  if (offer === openMetrics)
    return { kind: "openmetrics", version: "1.0.0", escaping: escaping ?? "underscores" };
  return { kind: "protobuf", escaping: escaping ?? "underscores" };
}

interface MediaRange {
  readonly type: string;
  readonly subtype: string;
  /** Lower case, without `q`. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
  /** Where it stands in the header. */
  readonly position: number;
}

/** How specific a range is that has no wildcard. */
const byName = 3;

/** How specific a range is that includes the format; 0 when it does not. */
function matches(range: MediaRange, offer: Offer): number {
  if (range.type === "*") return range.subtype === "*" ? 1 : 0;
  if (range.type !== offer.type) return 0;
  if (range.subtype === "*") return offer.required.length > 0 ? 0 : 2;
  if (range.subtype !== offer.subtype) return 0;
  let specificity = byName;
  for (const [name, value] of Object.entries(offer.parameters)) {
    const wanted = range.parameters.get(name);
    if (wanted === undefined) {
      if (offer.required.includes(name)) return 0;
    } else if (wanted === value) specificity += 1;
    else return 0;
  }
  return specificity;
}

/** By quality, then what was named and not only matched by a wildcard, then what was named first. */
function isWantedMore(
  range: MediaRange,
  specificity: number,
  than: { readonly range: MediaRange; readonly specificity: number },
): boolean {
  if (range.quality !== than.range.quality) return range.quality > than.range.quality;
  const named = Math.min(specificity, byName);
  const thanNamed = Math.min(than.specificity, byName);
  if (named !== thanNamed) return named > thanNamed;
  return range.position < than.range.position;
}

const escapings: readonly string[] = ["allow-utf-8", "underscores", "dots", "values"] satisfies Escaping[];

/**
 * Prometheus names its escaping only with the newer text formats, though it holds for all that it reads; so protobuf
 * takes it from them. Text 0.0.4, which an older scraper may be asking for through a proxy, does not.
 */
function escapingOf(range: MediaRange | undefined, ranges: readonly MediaRange[]): Escaping | undefined {
  const own = range === undefined ? undefined : namedEscaping(range);
  if (own !== undefined || range?.subtype !== protobuf.subtype) return own;
  return ranges.map(namedEscaping).find((escaping) => escaping !== undefined);
}

function namedEscaping(range: MediaRange): Escaping | undefined {
  const named = range.parameters.get("escaping");
  return named !== undefined && escapings.includes(named) ? (named as Escaping) : undefined;
}

/** What is no media range is left out. */
function parseAccept(accept: string): MediaRange[] {
  const ranges: MediaRange[] = [];
  for (const [position, element] of splitUnquoted(accept, ",").entries()) {
    const [name = "", ...parameters] = splitUnquoted(element, ";");
    const [type, subtype, ...rest] = name.trim().toLowerCase().split("/");
    if (!type || !subtype || rest.length > 0) continue;
    const values = new Map<string, string>();
    for (const parameter of parameters) {
      const equals = parameter.indexOf("=");
      if (equals > 0)
        values.set(parameter.slice(0, equals).trim().toLowerCase(), unquote(parameter.slice(equals + 1)));
    }
    const quality = qualityOf(values.get("q"));
    values.delete("q");
    if (quality !== undefined) ranges.push({ type, subtype, parameters: values, quality, position });
  }
  return ranges;
}

/** Undefined for what is no weight. */
function qualityOf(text: string | undefined): number | undefined {
  if (text === undefined) return 1;
  if (!/^[01]?(\.\d*)?$/.test(text) || text === "" || text === ".") return undefined;
  const quality = Number(text);
  return quality <= 1 ? quality : undefined;
}

function unquote(text: string): string {
  const value = text.trim().toLowerCase();
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"')
    ? value.slice(1, -1).replaceAll(/\\(.)/g, "$1")
    : value;
}

function splitUnquoted(text: string, separator: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let isQuoted = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (character === '"') isQuoted = !isQuoted;
    else if (isQuoted && character === "\\") index += 1;
    else if (!isQuoted && character === separator) {
      parts.push(text.slice(start, index));
      start = index + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}
