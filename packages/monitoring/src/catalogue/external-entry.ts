// How the series of another program are written down. They are checked against the real output of that program, and
// expressions of rules and runbooks against them; they never become instruments.
import type { LabelRule, LabelRules } from "./entry.ts";

/** The programs whose series are known here, each in the version that they were read from. */
export const externalPrograms = {
  prometheus: "3.16.0",
  alertmanager: "0.34.2",
  node_exporter: "1.12.1",
  "kube-state-metrics": "2.18.0",
  jaeger: "2.13.0",
} as const;

export type ExternalProgram = keyof typeof externalPrograms;

export type ExternalType = "counter" | "gauge" | "histogram" | "summary" | "untyped";

export interface ExternalSeries {
  /** The program that exposes it. */
  readonly program: ExternalProgram;
  readonly version: string;
  /** By its `# TYPE`. A histogram has the series `_bucket` with `le`, `_sum` and `_count`, a summary has `quantile`. */
  readonly type: ExternalType;
  /** Those that the program gives; what Prometheus adds is in `targetLabels`. */
  readonly labels: LabelRules;
  /** It has any other label too: `ALERTS` has those of each alert. */
  readonly anyLabel?: true;
}

/** The names and labels of one program's series, by their type. */
type Written = { readonly [Type in ExternalType]?: Readonly<Record<string, LabelRules>> };

export function seriesOf(
  program: ExternalProgram,
  written: Written,
): Readonly<Record<string, ExternalSeries>> {
  const version = externalPrograms[program];
  return Object.fromEntries(
    Object.entries(written).flatMap(([type, all]) =>
      Object.entries(all).map(([name, labels]) => [
        name,
        { program, version, type: type as ExternalType, labels },
      ]),
    ),
  );
}

/** A label whose values another program chooses, without a bound that is known here. */
export function anyOf(about: string): LabelRule {
  return { about, atMost: Number.POSITIVE_INFINITY };
}
