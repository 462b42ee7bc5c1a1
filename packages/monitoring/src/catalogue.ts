// Every metric of the platform, once. Instruments are made from it, MONITORING.md is generated from it, and later
// alerts, dashboards and runbooks are checked against it.
import { aiCatalogue } from "./catalogue/ai.ts";
import { databaseCatalogue } from "./catalogue/database.ts";
import type { CatalogueEntry, ClosedLabel } from "./catalogue/entry.ts";
import { httpCatalogue } from "./catalogue/http.ts";
import { itselfCatalogue } from "./catalogue/itself.ts";
import { lifecycleCatalogue } from "./catalogue/lifecycle.ts";
import { runtimeCatalogue } from "./catalogue/runtime.ts";

export const catalogue = {
  ...httpCatalogue,
  ...aiCatalogue,
  ...databaseCatalogue,
  ...lifecycleCatalogue,
  ...itselfCatalogue,
  ...runtimeCatalogue,
} as const;

export type MetricName = keyof typeof catalogue;

/** Names of the metrics of one type. */
export type NameOf<Type extends CatalogueEntry["type"]> = {
  [Name in MetricName]: (typeof catalogue)[Name]["type"] extends Type ? Name : never;
}[MetricName];

type LabelRulesOf<Name extends MetricName> = (typeof catalogue)[Name]["labels"];

/** The labels of a metric: all of them, and of closed ones no other value. */
export type LabelsOf<Name extends MetricName> = keyof LabelRulesOf<Name> extends never
  ? Readonly<Record<string, never>>
  : {
      readonly [Label in keyof LabelRulesOf<Name>]: LabelRulesOf<Name>[Label] extends ClosedLabel<infer Value>
        ? Value
        : string | number;
    };
