// How drills judge: one whose fault is not there fails, and so does each step that did not happen. Besides: what ends a drill
// in the middle.
import type { AlertDrill, Step } from "@ectus/drills";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DrillHolder, openDrillHolder } from "./held-drill.ts";

// Of which some may be spent waiting for others.
const timeoutMs = 300_000;

let holder: DrillHolder;
beforeAll(async () => {
  holder = await openDrillHolder(3);
}, 1_200_000);
afterAll(async () => expect(await holder.close()).toEqual([]));

/** The failed steps of a changed drill. */
async function failuresOf(name: string, change: Partial<AlertDrill>): Promise<readonly Partial<Step>[]> {
  const { result, failed, report, logs, left } = await holder.hold(name, change);
  expect(result.passed).toBe(failed.length === 0);
  expect(report).toContain("FAILED");
  expect(logs).toEqual(
    expect.arrayContaining(["alertmanager.log", "instance.log", "postgres.log", "prometheus.log"]),
  );
  expect(left).toEqual([]);
  return failed;
}

test.concurrent(
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

test.concurrent(
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

test.concurrent(
  "a fault that cannot be brought about fails the drill, with the reason",
  async () => {
    const failures = await failuresOf("high-error-rate", {
      inject: () => Promise.reject(new Error("the disk is write-protected")),
    });
    expect(failures).toEqual([expect.objectContaining({ seen: "the disk is write-protected" })]);
  },
  timeoutMs,
);

test.concurrent(
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

test.concurrent(
  "a drill that is killed takes all that it has started with it",
  async () => {
    const running = await holder.kill("high-latency", "Fault: the vendor takes");
    for (const program of ["postgres", "prometheus", "alertmanager", "main.ts up"])
      expect(running).toContainEqual(expect.stringContaining(program));
  },
  timeoutMs,
);
