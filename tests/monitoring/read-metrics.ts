// Reads the text format 0.0.4 as far as tests need it: which families there are, and their samples.
export interface MetricSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metrics {
  /** Type by family. */
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly MetricSample[];
  /** The value of the one sample with this name and these labels, among others; 0 if there is none. */
  valueOf(name: string, labels?: Readonly<Record<string, string>>): number;
}

const samplePattern = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const labelPattern = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?/g;

/** @throws Error for a line that it cannot read */
export function readMetrics(text: string): Metrics {
  const types = new Map<string, string>();
  const samples: MetricSample[] = [];
  for (const line of text.split("\n")) {
    const [mark, kind, family, type] = line.split(" ");
    if (mark === "#" && kind === "TYPE") types.set(family as string, type as string);
    if (line === "" || mark === "#") continue;
    const [, name, labels = "", value] = samplePattern.exec(line) ?? [];
    if (name === undefined) throw new Error(`this is no sample: ${line}`);
    samples.push({
      name,
      labels: Object.fromEntries([...labels.matchAll(labelPattern)].map(([, label, of]) => [label, of])),
      value: value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value),
    });
  }
  return {
    types,
    samples,
    valueOf(name, labels = {}) {
      const found = samples.filter(
        (sample) =>
          sample.name === name &&
          Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
      );
      if (found.length > 1) throw new Error(`${found.length} samples are ${name}${JSON.stringify(labels)}`);
      return found[0]?.value ?? 0;
    },
  };
}

/** Scrapes an instance. */
export async function scrapeMetrics(url: string): Promise<Metrics> {
  const answer = await fetch(url, { headers: { accept: "text/plain;version=0.0.4" } });
  if (answer.status !== 200) throw new Error(`the scrape was answered with ${answer.status}`);
  return readMetrics(await answer.text());
}
