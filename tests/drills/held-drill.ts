// Holds drills for tests, in this process or as an operator does: the command as a process of its own. Says what it told
// and kept, and what it left behind.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type AlertDrill, allDrills, type DrillResult, runDrill, type Step } from "@ectus/drills";
import { type PeerName, peer } from "@ectus/peers";
import { vi } from "vitest";
import { until } from "../postgres/until.ts";

const main = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;

export interface HeldDrill {
  readonly result: DrillResult;
  /** Names of its steps that went well. */
  readonly done: readonly string[];
  readonly failed: readonly Partial<Step>[];
  readonly report: string;
  /** File names of the logs that it kept. */
  readonly logs: readonly string[];
  /** Scratch folders and processes that it left. */
  readonly left: readonly string[];
}

export interface CommandedDrill extends HeldDrill {
  readonly code: number | null;
  /** From the command's start to its end. */
  readonly tookMs: number;
}

/** A signal that the command gets once it has printed a text. It prints text then, and not JSON. */
export interface SentSignal {
  readonly signal: NodeJS.Signals;
  readonly after: string;
}

export interface DrillHolder {
  /** In this process; changed, if something is to be otherwise. */
  hold(name: string, change?: Partial<AlertDrill>): Promise<HeldDrill>;
  /** `ectus drill run`. */
  command(name: string, sent?: SentSignal): Promise<CommandedDrill>;
  /** Kills the command once it has printed a text. Resolves when what then ran is gone, with the lines of that. */
  kill(name: string, after: string): Promise<readonly string[]>;
  /** Removes all, and says what the drills left in the folder for temporary files and of processes that work there. */
  close(): Promise<readonly string[]>;
}

// SIGTERM of an instance, and what PostgreSQL takes for an immediate shutdown.
const goneWithinMs = 60_000;

/**
 * Has the programs built that are not here. More than `atOnce` drills wait: one needs a quarter of a processor, and more
 * while it starts. While it is open, this process's temporary files are in a folder of its own.
 */
export async function openDrillHolder(atOnce: number, peers: readonly PeerName[] = []): Promise<DrillHolder> {
  await Promise.all(["prometheus" as const, "alertmanager" as const, ...peers].map((name) => peer(name)));
  const folder = await mkdtemp(join(tmpdir(), "ectus-held-drills-"));
  const temporary = join(folder, "temporary");
  await mkdir(temporary);
  vi.stubEnv("TMPDIR", temporary);
  const newReportFolder = (): Promise<string> => mkdtemp(join(folder, "report-"));

  async function hold(name: string, change: Partial<AlertDrill>): Promise<HeldDrill> {
    const drill = allDrills.find((each) => each.name === name);
    if (drill?.kind !== "alert") throw new Error(`there is no drill ${name} of an alert`);
    const scratch = await mkdtemp(join(temporary, "drill-"));
    const reportFolder = await newReportFolder();
    const steps: Step[] = [];
    const result = await runDrill({
      drill: { ...drill, ...change },
      ectus: [process.execPath, main],
      scratch,
      reportFolder,
      onStep: (step) => steps.push(step),
      signal: new AbortController().signal,
    });
    const { report, logs } = await readKept(reportFolder);
    const folders = await readdir(temporary);
    return {
      report,
      logs,
      result,
      done: doneOf(result),
      failed: steps.filter(({ ok }) => !ok),
      left: [...folders.filter((name) => name === basename(scratch)), ...(await processesOf(scratch))],
    };
  }

  async function runCommand(name: string, options: readonly string[], sent?: SentSignal): Promise<Ended> {
    const scratch = await mkdtemp(join(folder, "command-"));
    const child = spawn(process.execPath, [main, "drill", "run", name, ...options], {
      env: { ...process.env, TMPDIR: scratch },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    let running: Promise<readonly string[]> | undefined;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      if (sent === undefined || running !== undefined || !out.includes(sent.after)) return;
      running = processesOf(scratch).finally(() => child.kill(sent.signal));
    });
    const [code] = (await once(child, "close")) as [number | null];
    return { code, out, scratch, running: (await running) ?? [] };
  }

  async function command(name: string, sent?: SentSignal): Promise<CommandedDrill> {
    const reportFolder = await newReportFolder();
    const startedAt = performance.now();
    const json = sent === undefined ? ["--json"] : [];
    const { code, out, scratch } = await runCommand(name, [...json, "--report", reportFolder], sent);
    const tookMs = performance.now() - startedAt;
    const { report, logs, kept } = await readKept(reportFolder).catch(() => {
      throw new Error(`the drill ended with ${code} and without a report: ${out}`);
    });
    const result: DrillResult = sent === undefined ? JSON.parse(out) : kept;
    return {
      code,
      tookMs,
      report,
      logs,
      result,
      done: doneOf(result),
      failed: kept.steps.filter(({ ok }) => !ok),
      left: [...(await readdir(scratch)), ...(await processesOf(scratch))],
    };
  }

  async function kill(name: string, after: string): Promise<readonly string[]> {
    const { scratch, running } = await runCommand(name, ["--report", await newReportFolder()], {
      signal: "SIGKILL",
      after,
    });
    await until(async () => (await processesOf(scratch)).length === 0, goneWithinMs, 100);
    return running;
  }

  const inTurn = turns(atOnce);
  return {
    hold: (name, change = {}) => inTurn(() => hold(name, change)),
    command: (name, sent) => inTurn(() => command(name, sent)),
    kill: (name, after) => inTurn(() => kill(name, after)),
    async close() {
      vi.unstubAllEnvs();
      const left = [...(await readdir(temporary)), ...(await processesOf(temporary))];
      await rm(folder, { recursive: true, force: true });
      return left;
    },
  };
}

interface Ended {
  readonly code: number | null;
  readonly out: string;
  /** Its folder for temporary files. */
  readonly scratch: string;
  /** What ran of it when it got its signal. */
  readonly running: readonly string[];
}

interface Kept extends Pick<HeldDrill, "report" | "logs"> {
  readonly kept: DrillResult & { readonly steps: readonly Step[] };
}

async function readKept(reportFolder: string): Promise<Kept> {
  const report = await readFile(join(reportFolder, "report.md"), "utf8");
  const kept = JSON.parse(await readFile(join(reportFolder, "report.json"), "utf8"));
  return { report, kept, logs: await readdir(join(reportFolder, "logs")).catch(() => []) };
}

const doneOf = ({ steps }: DrillResult): readonly string[] =>
  steps.filter(({ ok }) => ok).map(({ what }) => what);

/** Does so much at once, and the rest in turn. */
function turns(atOnce: number): <T>(work: () => Promise<T>) => Promise<T> {
  let underWay = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (underWay >= atOnce) await new Promise<void>((resolve) => waiting.push(resolve));
    else underWay += 1;
    try {
      return await work();
    } finally {
      // Its place goes to the next one.
      const next = waiting.shift();
      if (next === undefined) underWay -= 1;
      else next();
    }
  };
}

/** Command lines that name a folder: everything that a drill starts has its files in its scratch folder. */
async function processesOf(folder: string): Promise<readonly string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")),
  );
  return lines.filter((line) => line.includes(folder)).map((line) => line.replaceAll("\0", " "));
}
