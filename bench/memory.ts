// Resident memory of an Ectus-R that has run for a while: in blocks of 20,000 requests, and with 500 open streams.
import { setTimeout as delay } from "node:timers/promises";
import type { Instance, Tenant } from "./instance.ts";
import type { LoadJob } from "./load-client.ts";
import { residentBytes } from "./proc.ts";
import type { LoadClient } from "./processes.ts";
import { type Aim, median, type Row, round, type Table, toAim } from "./report.ts";
import { type RequestKind, rawRequest } from "./requests.ts";

export interface MemoryOptions {
  readonly client: LoadClient;
  readonly instance: Instance;
  readonly tenants: readonly Tenant[];
}

export interface MemoryResult {
  readonly answers: number;
  readonly rows: readonly Row[];
  readonly aims: readonly Aim[];
  readonly table: Table;
}

/** Resident MiB in a phase. */
interface Phase {
  readonly name: string;
  readonly before: number;
  readonly lowest: number;
  readonly median: number;
  readonly highest: number;
  readonly after: number;
}

const blocks = 5;
const sampleEveryMs = 50;
// What ended gives its memory back when garbage is collected next.
const settleMs = 2_000;
// Between two collections the heap goes up and down by about a tenth; a leak of 1 KiB a request would add a quarter.
const mostGrowth = 1.15;

export async function measureMemory({ client, instance, tenants }: MemoryOptions): Promise<MemoryResult> {
  const job = (kind: RequestKind, connections: number, count: number): LoadJob => ({
    port: instance.port,
    requests: tenants.map(({ key }) => rawRequest(kind, { authorization: `Bearer ${key}` })),
    warmup: 0,
    connections,
    count,
    maxMs: 120_000,
  });
  const resident = async (): Promise<number> => ((await residentBytes(instance.pid)) ?? Number.NaN) / 2 ** 20;
  let answers = 0;

  /** Samples while `work` runs, or, of streams, from when all are open. */
  async function phase(name: string, work: LoadJob, whenAllOpen: boolean): Promise<Phase> {
    const before = await resident();
    let samples: number[] = [];
    const timer = setInterval(() => void resident().then((mib) => samples.push(mib)), sampleEveryMs);
    try {
      const result = await client.run(work, whenAllOpen ? { allOpen: () => (samples = []) } : {});
      answers += result.answers;
    } finally {
      clearInterval(timer);
    }
    await delay(settleMs);
    return {
      name,
      before,
      lowest: Math.min(...samples),
      median: median(samples),
      highest: Math.max(...samples),
      after: await resident(),
    };
  }

  const phases: Phase[] = [];
  for (let block = 1; block <= blocks; block++)
    phases.push(await phase(`20,000 requests (${block} of ${blocks})`, job("plain", 64, 20_000), false));
  const streams = await phase("500 open streams", job("held", 500, 500), true);
  const growth = (phases.at(-1)?.median ?? Number.NaN) / (phases[0]?.median ?? Number.NaN);
  phases.push(streams);
  return {
    answers,
    rows: phases.map(({ name, before, lowest, median: middle, highest, after }) => ({
      scenario: name,
      target: "Ectus-R",
      rssBeforeMib: round(before),
      rssLowestMib: round(lowest),
      rssMedianMib: round(middle),
      rssHighestMib: round(highest),
      rssAfterMib: round(after),
    })),
    aims: [
      toAim(
        `RSS in the last of ${blocks} blocks of 20,000 requests, times that in the first`,
        growth,
        "at-most",
        mostGrowth,
      ),
      toAim(
        "highest RSS with 500 open streams, times that before",
        streams.highest / streams.before,
        "at-most",
        mostGrowth,
      ),
      toAim(
        "RSS after 500 streams, times that before",
        streams.after / streams.before,
        "at-most",
        mostGrowth,
      ),
    ],
    table: {
      title: "Resident memory of Ectus-R, MiB",
      head: ["", "before", "lowest", "median", "highest", "after"],
      lines: phases.map(({ name, ...values }) => [
        name,
        ...[values.before, values.lowest, values.median, values.highest, values.after].map((mib) =>
          String(Math.round(mib)),
        ),
      ]),
    },
  };
}
