import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { defaultFactors } from "./drill.ts";
import { highErrorRate } from "./drills/high-error-rate.ts";
import { newFindings } from "./findings.ts";
import { renderReport, stepText, writeReport } from "./report.ts";
import type { DrillRecord } from "./run-drill.ts";
import { startTimeline } from "./timeline.ts";

const startedAt = "2026-11-25T03:00:00.000Z";

function record(fails: boolean): DrillRecord {
  const timeline = startTimeline(
    () => {},
    () => Date.parse(startedAt),
  );
  timeline.done("HighErrorRate is pending");
  if (fails) timeline.failed({ what: "HighErrorRate fires", expected: "it within 30 s", seen: "no alert" });
  const findings = newFindings();
  findings.durations = { detect: 6.25, notify: fails ? null : 0.1, resolve: fails ? null : 10 };
  findings.others.add("Watchdog");
  findings.answers.push({ line: 20, expression: "up == 0", answer: "{} 0" });
  return {
    drill: highErrorRate,
    startedAt,
    passed: !fails,
    factors: defaultFactors,
    steps: timeline.steps,
    findings,
    messages: [
      { service: "dead-mans-switch", at: 0 },
      {
        service: "slack",
        at: Date.parse(startedAt),
        channel: "pages",
        title: "FIRING HighErrorRate: 80% of requests fail",
        text: "",
        payload: {},
      },
    ],
    logs: { prometheus: "level=INFO\n" },
  };
}

test("a report has the fault, the durations, the timeline, the messages and the answers", () => {
  const text = renderReport(record(false));
  for (const part of [
    "# Drill high-error-rate: passed",
    "- Fault: the vendor answers every call with 500",
    "| fault | alert fires | 6.25 |",
    "   0.0 s  ok      HighErrorRate is pending",
    "- 2026-11-25T03:00:00.000Z Slack pages: FIRING HighErrorRate: 80% of requests fail",
    "Alerts that were raised besides: Watchdog.",
    "high-error-rate.md:20",
    "up == 0\n\n{} 0",
  ])
    expect(text).toContain(part);
  expect(text).not.toContain("a beat");
});

test("a step that failed says what was expected and what was seen", () => {
  const [, failed] = record(true).steps;
  expect(failed === undefined ? "" : stepText(failed)).toBe(
    [
      "   0.0 s  FAILED  HighErrorRate fires",
      "                  expected: it within 30 s",
      "                  seen:     no alert",
    ].join("\n"),
  );
  expect(renderReport(record(true))).toContain(
    "| mitigation | people are told that it is over | not reached |",
  );
});

test("logs are kept of a drill that failed, and of no other", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ectus-report-"));
  try {
    await writeReport(join(folder, "passed"), record(false));
    await writeReport(join(folder, "failed"), record(true));
    expect((await readdir(join(folder, "passed"))).sort()).toEqual(["report.json", "report.md"]);
    expect(await readFile(join(folder, "failed", "logs", "prometheus.log"), "utf8")).toBe("level=INFO\n");
    const json = JSON.parse(await readFile(join(folder, "failed", "report.json"), "utf8"));
    expect(json).toMatchObject({
      drill: "high-error-rate",
      passed: false,
      durations: { detect: 6.25, notify: null },
      others: ["Watchdog"],
    });
    expect(json.messages).toHaveLength(1);
  } finally {
    await rm(folder, { recursive: true });
  }
});
