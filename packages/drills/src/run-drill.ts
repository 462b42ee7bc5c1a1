// Runs one drill from nothing to a report, and leaves nothing behind but that.
import { rm } from "node:fs/promises";
import type { ShorteningFactors } from "@ectus/alerting";
import { errorMessage } from "@ectus/core";
import type { Drill } from "./drill.ts";
import { type Durations, type Findings, newFindings } from "./findings.ts";
import { findPrograms, type ProgramName } from "./programs/find-programs.ts";
import type { Message } from "./receiver/messages.ts";
import { writeReport } from "./report.ts";
import { type Rig, type RunningServers, startRig } from "./rig/rig.ts";
import { factorsOf } from "./shortened-rules.ts";
import { type Failure, type Step, StepFailed, startTimeline } from "./timeline.ts";
import { watchAlert } from "./watch-alert.ts";
import { watchSilence } from "./watch-silence.ts";

export interface DrillOptions {
  readonly drill: Drill;
  /** Command and first arguments that run `ectus`. */
  readonly ectus: readonly [string, ...string[]];
  /** An empty folder for everything that runs, which is removed in the end. DATA_DIR is its folder data. */
  readonly scratch: string;
  /** Made if it is missing; the report is kept there. */
  readonly reportFolder: string;
  /** Prometheus and Alertmanager to use instead of own ones. */
  readonly running?: RunningServers | undefined;
  readonly onStep: (step: Step) => void;
  /** Aborted to end it early. */
  readonly signal: AbortSignal;
}

/** What `--json` prints. */
export interface DrillResult {
  readonly drill: string;
  readonly passed: boolean;
  readonly steps: readonly Pick<Step, "at" | "what" | "ok">[];
  readonly durations: Durations;
}

/** All that the report says. */
export interface DrillRecord {
  readonly drill: Drill;
  readonly startedAt: string;
  readonly passed: boolean;
  readonly factors: ShorteningFactors;
  readonly steps: readonly Step[];
  readonly findings: Findings;
  readonly messages: readonly Message[];
  /** Of the programs; kept only of a drill that failed. */
  readonly logs: Readonly<Record<string, string>>;
}

/**
 * Runs a drill. One that fails is a result; what is thrown is that it could not be held at all.
 *
 * @throws EctusError `program_missing` when a program is not here, and the reason of `signal` when that is aborted
 */
export async function runDrill(options: DrillOptions): Promise<DrillResult> {
  const { drill, scratch, running, signal } = options;
  const own: readonly ProgramName[] = running === undefined ? ["prometheus", "alertmanager"] : [];
  const programs = await findPrograms([...own, ...drill.programs]).catch(async (error: unknown) => {
    await rm(scratch, { recursive: true, force: true });
    throw error;
  });
  const factors = factorsOf(drill);
  const timeline = startTimeline(options.onStep);
  const startedAt = new Date().toISOString();
  const findings = newFindings();
  let rig: Rig | undefined;
  try {
    const { ectus } = options;
    rig = await startRig({ drill, factors, ectus, folder: scratch, programs, running, signal });
    timeline.done("The instance, its PostgreSQL, Prometheus and Alertmanager run");
    if (drill.kind === "alert") await watchAlert(drill, rig, timeline, findings);
    else await watchSilence(drill, rig, timeline, findings);
  } catch (error) {
    timeline.failed(failureOf(error, signal));
    if (rig !== undefined) findings.customers.push({ phase: "in the end", view: rig.traffic.take() });
  }
  try {
    await rig?.close();
  } catch (error) {
    const what = "Everything that was started is stopped";
    timeline.failed({ what, expected: "that it ends", seen: errorMessage(error) });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  const record: DrillRecord = {
    drill,
    startedAt,
    factors,
    findings,
    passed: timeline.steps.every(({ ok }) => ok),
    steps: timeline.steps,
    messages: rig?.receiver?.messages ?? [],
    logs: rig?.logs() ?? {},
  };
  await writeReport(options.reportFolder, record);
  return {
    drill: drill.name,
    passed: record.passed,
    steps: record.steps.map(({ at, what, ok }) => ({ at, what, ok })),
    durations: findings.durations,
  };
}

function failureOf(error: unknown, signal: AbortSignal): Failure {
  if (signal.aborted)
    return {
      what: "The drill was ended before it was over",
      expected: "that it goes to its end",
      seen: errorMessage(signal.reason),
    };
  if (error instanceof StepFailed) return error.failure;
  return {
    what: "The drill goes on",
    expected: "nothing that keeps it from its end",
    seen: errorMessage(error),
  };
}
