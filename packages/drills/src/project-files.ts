// The project's own alerting, as it is deployed: rules, Alertmanager's configuration, runbooks.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fileNameOf } from "@ectus/alerting";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const prometheusFolder = join(root, "k8s", "prometheus");

/** Paths of the rule files. */
export const ruleFilePaths: readonly string[] = ["alerts", "recording-rules", "objective-rules"].map((name) =>
  join(prometheusFolder, `${name}.yaml`),
);

/** Alertmanager's configuration with PagerDuty. */
export const alertmanagerConfigPath = join(prometheusFolder, "alertmanager", "pagerduty", "config.yaml");

/** Texts of Alertmanager's templates by file name. */
export async function readTemplates(): Promise<Readonly<Record<string, string>>> {
  const folder = join(prometheusFolder, "alertmanager", "templates");
  const names = (await readdir(folder)).filter((name) => name.endsWith(".tmpl"));
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
  return Object.fromEntries(names.map((name, index) => [name, texts[index] ?? ""]));
}

/** A query that a runbook promises an answer of while its alert fires. */
export interface RunbookQuery {
  readonly line: number;
  readonly expression: string;
}

/** File name of an alert's runbook. */
export const runbookOf = (alert: string): string => `${fileNameOf(alert)}.md`;

/** Queries marked `promql run firing` in an alert's runbook. */
export async function readRunbookQueries(alert: string): Promise<readonly RunbookQuery[]> {
  return findRunbookQueries(await readFile(join(root, "docs", "runbooks", runbookOf(alert)), "utf8"));
}

export function findRunbookQueries(markdown: string): readonly RunbookQuery[] {
  const queries: RunbookQuery[] = [];
  // A fence may stand in a list, indented.
  for (const match of markdown.matchAll(/^([ \t]*)```promql run firing[ \t]*\n([\s\S]*?)^[ \t]*```/gm)) {
    const line = markdown.slice(0, match.index).split("\n").length;
    queries.push({ line, expression: (match[2] ?? "").trim() });
  }
  return queries;
}
