// What is wrong with an expression of a runbook, as the live Prometheus and the lists of known series have it.
import { parseExpression, type Selector } from "@ectus/alerting";
import { type CatalogueEntry, catalogue, externalSeries, targetLabels } from "@ectus/monitoring";

/** Series of a live Prometheus, asked for once. */
export interface KnownSeries {
  /** Names of the labels that a metric's series have there; none if there are no series. */
  labelsOf(metric: string): Promise<ReadonlySet<string>>;
  /** Names of the recording rules. */
  readonly recorded: ReadonlySet<string>;
}

interface Answer {
  readonly status: string;
  readonly error?: string;
  /** Not its `infos`, which guess a metric's type by its name. */
  readonly warnings?: readonly string[];
}

export async function readKnownSeries(url: string, recorded: ReadonlySet<string>): Promise<KnownSeries> {
  const asked = new Map<string, Promise<ReadonlySet<string>>>();
  const ask = async (metric: string): Promise<ReadonlySet<string>> => {
    const parameters = new URLSearchParams({
      "match[]": `{__name__=${JSON.stringify(metric)}}`,
      limit: "10000",
    });
    const answer = await fetch(`${url}/api/v1/series?${parameters}`);
    const { data } = (await answer.json()) as { data: readonly Readonly<Record<string, string>>[] };
    return new Set(data.flatMap((labels) => Object.keys(labels)));
  };
  return {
    recorded,
    labelsOf(metric) {
      const found = asked.get(metric) ?? ask(metric);
      asked.set(metric, found);
      return found;
    },
  };
}

/** Every fault, in words; none when it is well. */
export async function promqlFaults(expression: string, url: string, series: KnownSeries): Promise<string[]> {
  const faults: string[] = [];
  const answer = await fetch(`${url}/api/v1/query`, {
    method: "POST",
    body: new URLSearchParams({ query: expression }),
    signal: AbortSignal.timeout(30_000),
  });
  const { status, error, warnings = [] } = (await answer.json()) as Answer;
  if (status !== "success") faults.push(`Prometheus says: ${error}`);
  faults.push(...warnings.map((text) => `Prometheus says: ${text}`));
  for (const selector of parseExpression(expression).selectors)
    faults.push(...(await selectorFaults(selector, series)));
  return faults;
}

async function selectorFaults({ metric, matchers }: Selector, series: KnownSeries): Promise<string[]> {
  if (metric === undefined) return ["a selector has no metric's name"];
  const live = await series.labelsOf(metric);
  const labels = live.size > 0 ? live : labelsToCome(metric, series);
  if (labels === undefined) return [`${metric} has no series`];
  if (labels === "any") return [];
  return matchers
    .filter(({ label }) => label !== "__name__" && !labels.has(label))
    .map(({ label }) => `${metric} has no label ${label}; it has ${[...labels].toSorted().join(", ")}`);
}

/**
 * The labels of a metric that has no series before something happens, such as a counter of faults by their reason;
 * undefined for one that is not known, or that has to have its series at once since it has no labels.
 */
function labelsToCome(metric: string, { recorded }: KnownSeries): ReadonlySet<string> | "any" | undefined {
  if (recorded.has(metric)) return "any";
  const base = metric.replace(/_(bucket|sum|count)$/, "");
  const entries: Readonly<Record<string, CatalogueEntry>> = catalogue;
  const own = entries[metric] ?? entries[base];
  const others = externalSeries[metric] ?? externalSeries[base];
  // Series of alerts have the labels of each alert.
  if (others?.anyLabel === true) return "any";
  const names = Object.keys(own?.labels ?? others?.labels ?? {});
  return names.length === 0 ? undefined : new Set([...names, ...Object.keys(targetLabels), "le"]);
}
