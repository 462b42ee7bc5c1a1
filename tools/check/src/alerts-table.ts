// The alerts as a table for people: how urgent, how long they wait, which programs expose the series that they look at,
// and the drill that shows them.
import { code, markdownTable } from "./markdown.ts";

/** Like a rule of @ectus/alerting. */
export interface ShownRule {
  readonly kind: "alert" | "record";
  readonly name: { readonly value: string };
  readonly expression: { readonly selectors: readonly { readonly metric: string | undefined }[] };
  readonly labels: ReadonlyMap<string, { readonly value: string }>;
  readonly annotations?: ReadonlyMap<string, { readonly value: string }>;
  readonly for?: { readonly value: string };
}

/** Like a drill of @ectus/drills. */
export interface ShownDrill {
  readonly name: string;
  readonly alert: string;
  readonly inhibits?: readonly string[];
}

export interface AlertSources {
  readonly rules: readonly ShownRule[];
  /** The program that exposes a metric; undefined for one that nothing here exposes. */
  readonly programOf: (metric: string) => string | undefined;
  readonly drills: readonly ShownDrill[];
}

export function alertsTable({ rules, programOf, drills }: AlertSources): string {
  const recordings = Map.groupBy(
    rules.filter(({ kind }) => kind === "record"),
    ({ name }) => name.value,
  );
  /** Of an expression, through the series that other rules record. */
  function programs({ expression }: ShownRule, seen: ReadonlySet<string>): readonly string[] {
    return expression.selectors.flatMap(({ metric = "" }) => {
      const recorded = seen.has(metric) ? undefined : recordings.get(metric);
      if (recorded !== undefined)
        return recorded.flatMap((rule) => programs(rule, new Set([...seen, metric])));
      return programOf(metric) ?? [];
    });
  }
  const rows = rules
    .filter(({ kind }) => kind === "alert")
    .map((rule) => {
      const alert = rule.name.value;
      return [
        `[${alert}](docs/runbooks/${runbookOf(rule)})`,
        rule.labels.get("severity")?.value ?? "",
        rule.for?.value ?? "",
        [...new Set(programs(rule, new Set()))].toSorted().join(", "),
        drillsOf(alert, drills),
      ];
    });
  return markdownTable(["Alert", "Severity", "After", "Looks at series of", "Drill"], rows);
}

/** Its file name: rules have the address of the folder only as a label. */
const runbookOf = ({ annotations }: ShownRule): string =>
  annotations?.get("runbook_url")?.value.split("/").at(-1) ?? "";

function drillsOf(alert: string, drills: readonly ShownDrill[]): string {
  const own = drills.filter((drill) => drill.alert === alert).map(({ name }) => code(name));
  if (own.length > 0) return own.join(", ");
  const silenced = drills
    .filter(({ inhibits = [] }) => inhibits.includes(alert))
    .map(({ name }) => code(name));
  return silenced.length === 0 ? "" : `silenced in ${silenced.join(", ")}`;
}
