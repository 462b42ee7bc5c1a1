import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { PerformanceObserver } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { collectDefaultMetrics, Registry as OfficialRegistry } from "@prometheus-io/client";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { until } from "../../../tests/postgres/until.ts";
import { runtimeCatalogue } from "./catalogue/runtime.ts";
import { createInstruments, noInstruments } from "./instruments.ts";
import { startRuntimeMetrics } from "./runtime-metrics.ts";
import { createShown, readText } from "./testing/shown.ts";

const isLinux = process.platform === "linux";

afterEach(() => void vi.restoreAllMocks());

/** Where ours differ from the official client's, of purpose; all else is compared. */
const differences = {
  /** What the process may have, which the official client does not tell. */
  added: ["process_memory_limit_bytes", "process_cpu_limit_cores"],
  /** Ours has no summaries: their quantiles cannot be added up. The histogram of the same is there. */
  missing: ["nodejs_eventloop_utilization_summary"],
  /**
   * By the same names, what is read differs: the event-loop lag does not have the interval of its own timer in it (10
   * ms), and its statistics are of the last minute, not from one scrape to the next; kinds of
   * garbage collections have series of zeros before the first one; all of those are counted; the start time has
   * fractions; the CPU counters begin with the process. What their lag sets for the next turn of the loop they count
   * among the active resources.
   */
  values: /^nodejs_eventloop_|^nodejs_gc_|^process_cpu_|"Immediate"/,
};

describe("runtime metrics beside the official client's", () => {
  interface Described {
    readonly name: string;
    readonly type: string;
    readonly labelNames: readonly string[];
    readonly buckets: readonly number[] | undefined;
  }

  test.runIf(isLinux)("have the same names, types, labels and buckets", () => {
    const official = new OfficialRegistry();
    collectDefaultMetrics({ register: official });
    const shown = createShown();
    startRuntimeMetrics(shown)();
    const theirs = official.getMetricsAsArray().map((metric): Described => {
      const { name, type, labelNames, upperBounds } = metric as unknown as Described & {
        readonly upperBounds?: readonly number[];
      };
      return { name, type, labelNames, buckets: upperBounds };
    });
    const ours = shown.registry.getMetricsAsArray().map(
      (metric): Described => ({
        name: metric.name,
        type: metric.type,
        labelNames: metric.labelNames,
        buckets: "bounds" in metric ? (metric.bounds as readonly number[]) : undefined,
      }),
    );
    const byName = (one: Described, other: Described) => one.name.localeCompare(other.name);
    expect(ours.map(({ name }) => name)).toEqual(expect.arrayContaining(differences.added));
    expect(ours.filter(({ name }) => !differences.added.includes(name)).sort(byName)).toEqual(
      theirs.filter(({ name }) => !differences.missing.includes(name)).sort(byName),
    );
    expect(theirs.map(({ name }) => name)).toEqual(expect.arrayContaining(differences.missing));
  });

  test.runIf(isLinux)("have the same series with values near to theirs", async () => {
    const official = new OfficialRegistry();
    collectDefaultMetrics({ register: official });
    const shown = createShown();
    const stop = startRuntimeMetrics(shown);
    const comparable = (series: ReadonlyMap<string, number>) =>
      [...series.keys()]
        .filter((one) => !differences.values.test(one) && !differences.added.includes(one))
        .sort();
    // Again, if something came, went or was collected between the two.
    await until(async () => {
      const [theirText, ours] = await Promise.all([official.metrics(), shown.scrape()]);
      const theirs = readText(theirText);
      if (comparable(ours).join() !== comparable(theirs).join()) return false;
      return comparable(ours).every((series) => {
        const [our, their] = [ours.get(series) ?? Number.NaN, theirs.get(series) ?? Number.NaN];
        return Math.abs(our - their) <= Math.max(their / 5, leastDifference(series));
      });
    });
    stop();
  });

  /** What two readings right after each other may differ by where a fifth is less. */
  function leastDifference(series: string): number {
    if (series.includes("heap_space")) return 1_000_000;
    return series.includes("active") ? 2 : 0;
  }

  test("are all in the catalogue, and what the catalogue has is all there", async () => {
    const shown = createShown();
    const stop = startRuntimeMetrics(shown);
    await until(async () => (await shown.value("nodejs_eventloop_lag_max_seconds")) > 0);
    const families = new Set(
      [...(await shown.scrape()).keys()].map((series) => /^\w+/.exec(series)?.[0].replace(/_bucket$/, "")),
    );
    stop();
    const always = Object.keys(runtimeCatalogue).filter((name) => name !== "nodejs_active_requests");
    if (isLinux) expect(always.filter((name) => !families.has(name))).toEqual([]);
    expect([...(await shown.scrape()).keys()]).toEqual([]);
  });
});

describe("the runtime metrics", () => {
  test("can be started again after their stop", async () => {
    const shown = createShown();
    startRuntimeMetrics(shown)();
    const stop = startRuntimeMetrics(shown);
    await until(async () => (await shown.value("nodejs_eventloop_lag_max_seconds")) > 0);
    const { user, system } = process.cpuUsage();
    expect(await shown.value("process_cpu_seconds_total")).toBeGreaterThanOrEqual(
      (user + system) / 1e6 - 1e-3,
    );
    stop();
  });

  test.runIf(isLinux)("leave no file open", async () => {
    const shown = createShown();
    const opened = () => readdirSync("/proc/self/fd", { withFileTypes: true }).length;
    const before = opened();
    for (let times = 0; times < 50; times += 1) startRuntimeMetrics(shown)();
    expect(opened() - before).toBeLessThan(25);
  });

  test("are not there, and nothing runs for them, with instruments that measure nothing", () => {
    const interval = vi.spyOn(globalThis, "setInterval");
    const timeout = vi.spyOn(globalThis, "setTimeout");
    const cleared = vi.spyOn(globalThis, "clearInterval");
    const observe = vi.spyOn(PerformanceObserver.prototype, "observe");
    startRuntimeMetrics({ instruments: noInstruments })();
    expect(interval).not.toHaveBeenCalled();
    expect(timeout).not.toHaveBeenCalled();
    expect(observe).not.toHaveBeenCalled();
    // What is looked at here is what runs otherwise.
    startRuntimeMetrics({ instruments: createInstruments(createShown().registry) })();
    expect(interval).toHaveBeenCalledTimes(2);
    expect(cleared.mock.calls).toEqual(interval.mock.results.map(({ value }) => [value]));
    expect(observe).toHaveBeenCalledTimes(1);
  });

  test.runIf(isLinux)(
    "agree with what the kernel says of another process, which they do not keep from ending",
    async () => {
      const program = fileURLToPath(new URL("testing/measured-process.ts", import.meta.url));
      const child = spawn(process.execPath, [program], { stdio: ["pipe", "pipe", "inherit"] });
      onTestFinished(() => void child.kill());
      let text = "";
      child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      await until(() => text.includes("nodejs_gc_duration_seconds_count"));
      const stat = readFileSync(`/proc/${child.pid}/stat`, "latin1");
      const status = readFileSync(`/proc/${child.pid}/status`, "latin1");
      const bootSeconds = Number(/^btime (\d+)$/m.exec(readFileSync("/proc/stat", "latin1"))?.[1]);
      child.stdin.end();
      const [code] = await once(child, "exit");
      expect(code).toBe(0);

      const values = readText(text);
      const value = (name: string) => values.get(name) ?? Number.NaN;
      // proc_pid_stat(5): fields 14 and 15 are the CPU time, 22 the start after the boot, in hundredths of a second.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const field = (number: number) => Number(fields[number - 3]);
      const kibibytes = (name: string) => Number(new RegExp(`${name}:\\s*(\\d+)`).exec(status)?.[1]) * 1024;

      const cpu = (field(14) + field(15)) / 100;
      expect(value("process_cpu_seconds_total")).toBeGreaterThan(0.1);
      expect(Math.abs(cpu - value("process_cpu_seconds_total"))).toBeLessThan(0.3);
      expect(value("process_cpu_user_seconds_total") + value("process_cpu_system_seconds_total")).toBeCloseTo(
        value("process_cpu_seconds_total"),
      );
      expect(Math.abs(bootSeconds + field(22) / 100 - value("process_start_time_seconds"))).toBeLessThan(2);
      const memory = { resident_memory: "VmRSS", virtual_memory: "VmSize", heap: "VmData" };
      for (const [name, line] of Object.entries(memory)) {
        const bytes = kibibytes(line);
        expect(bytes).toBeGreaterThan(100_000_000);
        expect(Math.abs(value(`process_${name}_bytes`) - bytes), name).toBeLessThan(bytes / 10);
      }
    },
  );
});
