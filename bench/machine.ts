// What a bench ran on: figures mean nothing without it, and a disk that does not really write makes commits look cheap.
import { mkdtemp, open, rm } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem, type } from "node:os";
import { join } from "node:path";
import { median, round } from "./report.ts";

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly os: string;
  /** Milliseconds in which 8 KiB at the end of a file reach the disk. */
  readonly diskWriteMs: number;
  /** Processes that wanted to run in the minute before, on average: above 0, others were measured too. */
  readonly loadBefore: number;
}

const writes = 200;

export async function describeMachine(): Promise<Machine> {
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryGib: round(totalmem() / 2 ** 30),
    os: `${type()} ${release()}`,
    diskWriteMs: round(await diskWriteMs()),
    loadBefore: round(loadavg()[0] ?? 0),
  };
}

async function diskWriteMs(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-bench-"));
  try {
    await using file = await open(join(folder, "disk"), "w");
    const page = Buffer.alloc(8_192, 1);
    const times: number[] = [];
    for (let written = 0; written < writes; written++) {
      const startedAt = performance.now();
      await file.write(page);
      await file.datasync();
      times.push(performance.now() - startedAt);
    }
    return median(times);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
