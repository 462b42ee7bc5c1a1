// Drills of what runs short: memory and processors of an instance, a disk of a node, pods of a cluster, workers of exports.
// As in drills.test.ts: real programs, a real fault, the messages that arrive, and nothing that is left.
//
// Not held here: node-cpu-high and event-loop-lag, which take a machine that has time to spare.
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DrillHolder, openDrillHolder } from "./held-drill.ts";

// Of which some may be spent waiting for others.
const timeoutMs = 300_000;

let holder: DrillHolder;
beforeAll(async () => {
  // Two, beside those of drills.test.ts: some of these are hard on the machine.
  holder = await openDrillHolder(2, ["node-exporter", "kubernetes", "kube-state-metrics"]);
}, 1_200_000);
afterAll(async () => expect(await holder.close()).toEqual([]));

test.concurrent.each([
  [
    "export-stuck",
    [
      "ExportStuck is pending",
      "Slack tickets has the message that ExportStuck is resolved",
      expect.stringMatching(/^Customers notice nothing: (\d+) of \1 /),
      "Nobody was woken",
    ],
  ],
  [
    "pod-crash-looping",
    [
      "PodCrashLooping is pending",
      "PagerDuty has the message that PodCrashLooping is firing",
      "Mitigation: kubectl rollout undo deployment/ectus",
      expect.stringMatching(/^Customers notice nothing: (\d+) of \1 /),
    ],
  ],
  [
    "memory-high",
    [
      expect.stringMatching(/^MemoryHigh fires: .* uses \d+(\.\d+)?% of its memory$/),
      "Slack tickets has the message that MemoryHigh is resolved",
      "Nobody was woken",
    ],
  ],
  [
    "disk-almost-full",
    [
      expect.stringMatching(/^DiskAlmostFull fires: .*\/small-disk of .* is 97% full/),
      "DiskUsageHigh fires as well, and DiskAlmostFull silences it",
      "Nobody was told of DiskUsageHigh",
    ],
  ],
  [
    "cpu-high",
    [
      expect.stringMatching(/^CpuHigh fires: .* uses \d+(\.\d+)?% of its processors$/),
      "Slack tickets has the message that CpuHigh is resolved",
      "Nobody was woken",
    ],
  ],
  [
    "disk-usage-high",
    [
      expect.stringMatching(/^DiskUsageHigh fires: .*\/small-disk of .* is 8\d(\.\d+)?% full$/),
      "Slack tickets has the message that DiskUsageHigh is firing",
      "Nobody was woken",
    ],
  ],
  [
    "node-down",
    [
      "PagerDuty has the message that NodeDown is firing",
      expect.stringMatching(/^Customers notice nothing: (\d+) of \1 /),
    ],
  ],
  [
    "pod-oom-killed",
    ["Slack tickets has the message that PodOOMKilled is firing", "PodOOMKilled is over", "Nobody was woken"],
  ],
])(
  "%s passes and leaves nothing",
  async (name, steps) => {
    const { result, failed, done, left } = await holder.hold(name);
    expect(failed).toEqual([]);
    expect(result.passed).toBe(true);
    expect(done).toEqual(expect.arrayContaining(steps));
    expect(left).toEqual([]);
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain("small-disk");
  },
  timeoutMs,
);
