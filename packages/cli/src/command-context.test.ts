import { afterEach, expect, test, vi } from "vitest";
import { hasTerminal, processContext, stopSignals } from "./command-context.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test("a signal that comes twice at once counts once; a later one counts again, however many come in between", () => {
  let now = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  const counts: number[] = [];
  const release = processContext().onStopSignal((count) => counts.push(count));
  try {
    for (; now <= 600; now += 50) process.emit("SIGINT");
    expect(counts).toEqual([1, 2, 3]);
    now += 300;
    process.emit("SIGTERM");
    expect(counts).toEqual([1, 2, 3, 4]);
  } finally {
    release();
  }
  const before = process.listenerCount("SIGINT");
  processContext().onStopSignal(() => {})();
  expect(process.listenerCount("SIGINT")).toBe(before);
});

test("it writes to the process's own outputs and ends it", () => {
  const out = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  const err = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const exit = vi.spyOn(process, "exit").mockReturnValue(undefined as never);
  const context = processContext();
  context.stdout("a");
  context.stderr("b");
  context.exitNow(3);
  expect(out).toHaveBeenCalledWith("a");
  expect(err).toHaveBeenCalledWith("b");
  expect(exit).toHaveBeenCalledWith(3);
});

test("a closed terminal stops it, but not what nohup started or where that cannot be known", () => {
  expect(stopSignals(() => "SigBlk:\t0000000000000000\nSigIgn:\t0000000001001000\n")).toContain("SIGHUP");
  expect(stopSignals(() => "SigIgn:\t0000000000001001\n")).toEqual(["SIGINT", "SIGTERM"]);
  expect(stopSignals(() => "")).toEqual(["SIGINT", "SIGTERM"]);
});

test("a process has a terminal when its status names one, or cannot be read", () => {
  const stat = (tty: number) => `17 (a ) 0 0 0 0) S 1 17 17 ${tty} -1 4194560 0`;
  expect(hasTerminal(() => stat(34_816))).toBe(true);
  expect(hasTerminal(() => stat(0))).toBe(false);
  expect(
    hasTerminal(() => {
      throw new Error("no /proc here");
    }),
  ).toBe(true);
});
