// The report of a drill, to be kept: report.md for people, report.json for programs, and the programs' logs when it
// failed.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describeView } from "./customers.ts";
import { describeMessage } from "./notifications.ts";
import { runbookOf } from "./project-files.ts";
import type { DrillRecord } from "./run-drill.ts";
import type { Step } from "./timeline.ts";

export async function writeReport(folder: string, record: DrillRecord): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { drill, findings, logs, messages, ...rest } = record;
  const json = {
    drill: drill.name,
    alert: drill.alert,
    ...rest,
    ...findings,
    others: [...findings.others],
    messages: messages.filter(({ service }) => service !== "dead-mans-switch"),
  };
  await writeFile(join(folder, "report.json"), `${JSON.stringify(json, undefined, 2)}\n`);
  await writeFile(join(folder, "report.md"), renderReport(record));
  if (record.passed) return;
  await mkdir(join(folder, "logs"), { recursive: true });
  for (const [name, log] of Object.entries(logs)) await writeFile(join(folder, "logs", `${name}.log`), log);
}

/** A step as a line of text. */
export function stepText({ afterMs, what, ok, expected, seen }: Step): string {
  const line = `${(afterMs / 1_000).toFixed(1).padStart(6)} s  ${ok ? "ok    " : "FAILED"}  ${what}`;
  const indent = " ".repeat(18);
  return ok ? line : `${line}\n${indent}expected: ${expected}\n${indent}seen:     ${seen}`;
}

export function renderReport({
  drill,
  startedAt,
  passed,
  factors,
  steps,
  findings,
  messages,
}: DrillRecord): string {
  const { durations, customers, answers, others } = findings;
  const told = messages.filter(({ service }) => service !== "dead-mans-switch");
  const lines = [
    `# Drill ${drill.name}: ${passed ? "passed" : "FAILED"}`,
    "",
    `${startedAt}. It shows that ${drill.shows}.`,
    "",
    `- Fault: ${drill.fault}`,
    `- Mitigation: ${drill.mitigation}`,
    `- Alert: ${drill.alert}, runbook ${runbookOf(drill.alert)}`,
    `- Times of rules and notifications are divided by ${factors.windows}, those of the objective by ${factors.objective}, ages by ${factors.ages}.`,
    "",
    "## Durations",
    "",
    "| from | to | seconds |",
    "| --- | --- | --- |",
    `| fault | alert fires | ${durations.detect ?? "not reached"} |`,
    `| alert fires | people are told | ${durations.notify ?? "not reached"} |`,
    `| mitigation | people are told that it is over | ${durations.resolve ?? "not reached"} |`,
    "",
    "## Timeline",
    "",
    "```text",
    ...steps.map(stepText),
    "```",
    "",
    "## What customers saw",
    "",
    "| when | what |",
    "| --- | --- |",
    ...customers.map(({ phase, view }) => `| ${phase} | ${describeView(view)} |`),
    "",
    "## Messages",
    "",
    ...(told.length === 0
      ? ["None."]
      : told.map(
          (message) =>
            `- ${new Date(message.at).toISOString()} ${describeMessage(message).replaceAll("\n", " ")}`,
        )),
    "",
    `Alerts that were raised besides: ${[...others].join(", ") || "none"}.`,
    "",
    "## The runbook's queries while the alert fired",
    "",
    ...(answers.length === 0 ? ["None is marked `promql run firing`.", ""] : []),
    ...answers.flatMap(({ line, expression, answer }) => [
      `${runbookOf(drill.alert)}:${line}`,
      "",
      "```text",
      expression,
      "",
      answer,
      "```",
      "",
    ]),
    ...(passed ? [] : ["The programs' logs are in the folder logs.", ""]),
  ];
  return lines.join("\n");
}
