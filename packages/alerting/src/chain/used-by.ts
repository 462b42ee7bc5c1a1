// The catalogue says of each metric which alerts it is for; the alerts say the same by their expressions. Both must agree.
import type { CatalogueEntry } from "@ectus/monitoring";
import type { Fault } from "../yaml-positions.ts";
import type { ChainContext } from "./chain-context.ts";
import { type ChainFiles, catalogueFolder, filesIn } from "./chain-files.ts";

export function checkUsedBy(
  { files, alerts, known }: ChainContext,
  catalogue: Readonly<Record<string, CatalogueEntry>>,
): readonly Fault[] {
  const usedBy = new Map<string, Set<string>>();
  for (const { name, result } of alerts) {
    for (const metric of result.metrics.flatMap((series) => [...(known.find(series)?.madeFrom ?? [])])) {
      usedBy.set(metric, (usedBy.get(metric) ?? new Set()).add(name));
    }
  }
  const faults: Fault[] = [];
  const places = placesOf(files, Object.keys(catalogue));
  for (const [metric, entry] of Object.entries(catalogue)) {
    const place = places.get(metric) ?? { path: `${catalogueFolder}.ts`, line: 1 };
    const says = new Set(
      entry.usedBy.filter((use) => use.startsWith("alert ")).map((use) => use.slice("alert ".length)),
    );
    const does = usedBy.get(metric) ?? new Set();
    for (const alert of says.difference(does)) {
      const exists = alerts.some(({ name }) => name === alert);
      const message = exists
        ? `usedBy of ${metric} names the alert ${alert}, whose expression does not ask for it. Remove "alert ${alert}", or use the metric there.`
        : `usedBy of ${metric} names the alert ${alert}, which there is not. Remove "alert ${alert}", or write the alert.`;
      faults.push({ ...place, message });
    }
    for (const alert of does.difference(says)) {
      faults.push({
        ...place,
        message: `The alert ${alert} asks for ${metric}, whose usedBy does not say so. Add "alert ${alert}" there.`,
      });
    }
  }
  return faults;
}

/** Where the entries of metrics are written. */
function placesOf(
  files: ChainFiles,
  metrics: readonly string[],
): ReadonlyMap<string, Pick<Fault, "path" | "line">> {
  const places = new Map<string, Pick<Fault, "path" | "line">>();
  const wanted = new Set(metrics);
  for (const { path, text } of filesIn(files, catalogueFolder)) {
    for (const [index, line] of text.split("\n").entries()) {
      const metric = /^ {2}(\w+): (?:counter|gauge|histogram)\(/.exec(line)?.[1];
      if (metric !== undefined && wanted.has(metric)) places.set(metric, { path, line: index + 1 });
    }
  }
  return places;
}
