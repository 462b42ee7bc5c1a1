// How drills judge: one whose fault is not there fails, and so does each step that did not happen. Besides: what ends a drill
// in the middle.
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AlertDrill, allDrills, runDrill, type Step } from "@ectus/drills";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type DrillHolder, main, openDrillHolder, processesOf } from "./held-drill.ts";

const timeoutMs = 240_000;

let holder: DrillHolder;
beforeAll(async () => {
  holder = await openDrillHolder(1);
}, 1_200_000);
afterAll(async () => expect(await holder.close()).toEqual([]));

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-judged-drills-"));
  await mkdir(join(folder, "scratch"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Runs a changed drill in this process, and gives its failed steps. */
async function failuresOf(name: string, change: Partial<AlertDrill>): Promise<readonly Partial<Step>[]> {
  const drill = allDrills.find((each) => each.name === name);
  if (drill?.kind !== "alert") throw new Error(`there is no drill ${name} of an alert`);
  const steps: Step[] = [];
  const scratch = join(folder, "scratch");
  const reportFolder = join(folder, "report");
  const { passed } = await runDrill({
    drill: { ...drill, ...change },
    ectus: [process.execPath, main],
    scratch,
    reportFolder,
    onStep: (step) => steps.push(step),
    signal: new AbortController().signal,
  });
  const failures = steps.filter(({ ok }) => !ok);
  expect(passed).toBe(failures.length === 0);
  expect(await readFile(join(reportFolder, "report.md"), "utf8")).toContain("FAILED");
  expect(await readdir(join(reportFolder, "logs"))).toEqual(
    expect.arrayContaining(["alertmanager.log", "instance.log", "postgres.log", "prometheus.log"]),
  );
  expect(await readdir(folder)).toEqual(["report"]);
  expect(await processesOf(scratch)).toEqual([]);
  return failures;
}

test(
  "a drill whose fault is not there fails, and says what it saw instead",
  async () => {
    const failures = await failuresOf("high-error-rate", {
      inject: async () => async () => {},
      detectWithinMs: 10_000,
    });
    expect(failures).toEqual([
      expect.objectContaining({
        what: "HighErrorRate fires",
        expected: "it fires with severity page within 10 s",
        seen: "no alert",
      }),
    ]);
  },
  timeoutMs,
);

test(
  "each step that did not happen fails by itself, and those after it are judged",
  async () => {
    const failures = await failuresOf("service-down", {
      inhibits: ["InstanceDown", "HighLatency"],
      customersSee: "nothing",
      wakesNobody: true,
    });
    expect(failures).toEqual([
      expect.objectContaining({
        what: "HighLatency fires as well, and ServiceDown silences it",
        seen: "not raised; in Alertmanager: not there",
      }),
      expect.objectContaining({
        what: "Customers notice nothing",
        seen: expect.stringContaining("without an answer"),
      }),
      expect.objectContaining({
        what: "Nobody was woken",
        seen: expect.stringContaining("FIRING ServiceDown"),
      }),
    ]);
  },
  timeoutMs,
);

test(
  "a fault that cannot be brought about fails the drill, with the reason",
  async () => {
    const failures = await failuresOf("high-error-rate", {
      inject: () => Promise.reject(new Error("the disk is write-protected")),
    });
    expect(failures).toEqual([expect.objectContaining({ seen: "the disk is write-protected" })]);
  },
  timeoutMs,
);

test(
  "Ctrl-C ends a drill in the middle, and nothing stays but the report",
  async () => {
    const { code, failed, left } = await holder.command("high-latency", {
      signal: "SIGINT",
      after: "Fault: the vendor takes",
    });
    expect(code).toBe(1);
    expect(failed).toEqual([
      expect.objectContaining({
        what: "The drill was ended before it was over",
        seen: "stopped by a signal",
      }),
    ]);
    expect(left).toEqual([]);
  },
  timeoutMs,
);

test(
  "a drill that is killed takes all that it has started with it",
  async () => {
    const running = await holder.kill("high-latency", "Fault: the vendor takes");
    for (const program of ["postgres", "prometheus", "alertmanager", "main.ts up"])
      expect(running).toContainEqual(expect.stringContaining(program));
  },
  timeoutMs,
);
