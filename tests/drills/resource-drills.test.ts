// Drills of what runs short: memory and processors of an instance, a disk of a node, pods of a cluster, workers of exports.
// As drills.test.ts has it: real programs, a real fault, the messages that arrive, and nothing that is left.
//
// Not held here: node-cpu-high and event-loop-lag, which take a machine that has time to spare.
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allDrills, type Drill, runDrill, type Step } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { processesOf } from "./held-drill.ts";

const main = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;
const peers = ["prometheus", "alertmanager", "node-exporter", "kubernetes", "kube-state-metrics"] as const;
// Of which some may be spent waiting for others.
const timeoutMs = 300_000;

let folder: string;
let scratch: string;
beforeAll(async () => {
  await Promise.all(peers.map((name) => peer(name)));
  folder = await mkdtemp(join(tmpdir(), "ectus-resource-drills-"));
  scratch = join(folder, "scratch");
  await mkdir(scratch);
  vi.stubEnv("TMPDIR", scratch);
}, 1_200_000);
afterAll(async () => {
  vi.unstubAllEnvs();
  const left = [...(await readdir(scratch)), ...(await processesOf(scratch))];
  await rm(folder, { recursive: true, force: true });
  expect(left).toEqual([]);
});

// Two at once, beside those of drills.test.ts: some of these are hard on the machine.
const lanes: Promise<unknown>[] = [Promise.resolve(), Promise.resolve()];
let turns = 0;
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const lane = turns++ % lanes.length;
  const result = (lanes[lane] ?? Promise.resolve()).then(work);
  lanes[lane] = result.catch(() => {});
  return result;
}

async function hold(drill: Drill): Promise<{ readonly passed: boolean; readonly held: readonly Step[] }> {
  const held: Step[] = [];
  const { passed } = await runDrill({
    drill,
    ectus: [process.execPath, main],
    scratch: await mkdtemp(join(scratch, "drill-")),
    reportFolder: join(folder, drill.name),
    onStep: (step) => held.push(step),
    signal: new AbortController().signal,
  });
  return { passed, held };
}

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
      "Nobody was told of DiskUsageHigh once DiskAlmostFull fired",
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
  "%s passes",
  async (name, steps) => {
    const drill = allDrills.find((each) => each.name === name);
    if (drill === undefined) throw new Error(`there is no drill ${name}`);
    const { passed, held } = await inTurn(() => hold(drill));
    expect(held.filter(({ ok }) => !ok)).toEqual([]);
    expect(passed).toBe(true);
    expect(held.map(({ what }) => what)).toEqual(expect.arrayContaining(steps));
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain("small-disk");
  },
  timeoutMs,
);
