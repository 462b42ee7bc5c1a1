// Holds a drill as an operator does: the command as a process of its own. Says what it printed and kept, and what it
// left behind.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DrillResult } from "@ectus/drills";
import { peer } from "@ectus/peers";

const main = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;

export interface HeldDrill {
  readonly code: number | null;
  readonly result: DrillResult;
  /** Names of its steps that went well. */
  readonly done: readonly string[];
  /** Its failed steps, as the report has them. */
  readonly failed: readonly unknown[];
  readonly report: string;
  /** Scratch folders and processes that it left. */
  readonly left: readonly string[];
  /** From the command's start to its end. */
  readonly tookMs: number;
}

export interface HoldOptions {
  /** What it prints when Ctrl-C is to come. */
  readonly interruptAfter?: string;
  /** More options of the command. */
  readonly args?: readonly string[];
}

export interface DrillHolder {
  hold(name: string, options?: HoldOptions): Promise<HeldDrill>;
  close(): Promise<void>;
}

// A drill needs a quarter of a processor, and more while it starts.
const atOnce = 3;

/** Has Prometheus and Alertmanager built if they are not here. Holds three drills at once; more wait. */
export async function openDrillHolder(): Promise<DrillHolder> {
  await Promise.all([peer("prometheus"), peer("alertmanager")]);
  const folder = await mkdtemp(join(tmpdir(), "ectus-held-drills-"));
  let held = 0;
  const waiting: (() => void)[] = [];

  async function hold(name: string, { interruptAfter, args = [] }: HoldOptions): Promise<HeldDrill> {
    const scratch = await mkdtemp(join(folder, "scratch-"));
    const reportFolder = join(folder, "reports", name);
    const startedAt = performance.now();
    const json = interruptAfter === undefined ? ["--json"] : [];
    const command = ["drill", "run", name, ...json, "--report", reportFolder, ...args];
    const child = spawn(process.execPath, [main, ...command], {
      env: { ...process.env, TMPDIR: scratch },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    let interrupted = false;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      if (interruptAfter === undefined || interrupted || !out.includes(interruptAfter)) return;
      interrupted = true;
      child.kill("SIGINT");
    });
    const [code] = (await once(child, "close")) as [number | null];
    const tookMs = performance.now() - startedAt;
    const written = await readFile(join(reportFolder, "report.json"), "utf8").catch(() => {
      throw new Error(`the drill ended with ${code} and without a report: ${out}`);
    });
    const kept = JSON.parse(written);
    const result: DrillResult = interruptAfter === undefined ? JSON.parse(out) : kept;
    return {
      code,
      tookMs,
      result,
      done: result.steps.filter(({ ok }) => ok).map(({ what }) => what),
      failed: kept.steps.filter(({ ok }: { ok: boolean }) => !ok),
      report: await readFile(join(reportFolder, "report.md"), "utf8"),
      left: [...(await readdir(scratch)), ...(await processesOf(scratch))],
    };
  }

  return {
    async hold(name, options = {}) {
      if (held >= atOnce) await new Promise<void>((resolve) => waiting.push(resolve));
      else held += 1;
      try {
        return await hold(name, options);
      } finally {
        // Its place goes to the next one.
        const next = waiting.shift();
        if (next === undefined) held -= 1;
        else next();
      }
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Command lines that name a folder: everything that a drill starts has its files in its scratch folder. */
export async function processesOf(folder: string): Promise<readonly string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")),
  );
  return lines.filter((line) => line.includes(folder)).map((line) => line.replaceAll("\0", " "));
}
