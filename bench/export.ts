// Exports: a table of a million messages beside psql and zstd in a pipe, memory as the data grow, requests while an
// export runs, and the download of a bag beside a static file server.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { peer } from "@ectus/peers";
import { makeMessages } from "./export-data.ts";
import { download, startNginx } from "./export-download.ts";
import { runPipe } from "./export-pipe.ts";
import type { ExportJob, ExportResult } from "./export-process.ts";
import { type Instance, startEctus } from "./instance.ts";
import { describeMachine } from "./machine.ts";
import { type LoadClient, startLoadClient, startUpstream } from "./processes.ts";
import { type Bench, type BenchContext, median, type Row, round, type Table, toAim } from "./report.ts";
import { rawRequest } from "./requests.ts";

const rounds = 5;
const formats = ["csv", "ndjson"] as const;
const kinds = ["pipe", "export", "compared"] as const;
type Format = (typeof formats)[number];
type Kind = (typeof kinds)[number];

const titles: Readonly<Record<Kind, string>> = {
  pipe: "psql, zstd -3",
  export: "export without the second path",
  compared: "export",
};
const completions = 200_000;
const load = { connections: 16, warmup: 2_000, count: 60_000, maxMs: 5_000 } as const;

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Of rows, where it is known. */
  readonly bytes?: number;
}

export const exports: Bench = {
  name: "export",
  async run(context) {
    const machine = await describeMachine();
    await using running = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), "ectus-bench-"));
    running.defer(() => rm(folder, { recursive: true, force: true }));
    const upstream = await startUpstream();
    running.defer(() => upstream.stop());
    const [speed, memory, durability] = await alone(context, upstream.port, folder);
    const instance = await startEctus(upstream.port);
    running.defer(() => instance.stop());
    context.note("making a million messages");
    const { id } = await makeMessages(instance.ownerUrl, completions, 1);
    const requests = await measureRequests(context, instance, id);
    const downloads = await measureDownload(context, instance, id, folder);
    const report = [speed, memory, requests, downloads];
    return {
      report: {
        machine,
        versions: { node: process.version, nginx: downloads.version, ...durability },
        rows: report.flatMap(({ rows }) => rows),
        aims: report.flatMap(({ aims }) => aims),
      },
      tables: report.map(({ table }) => table),
    };
  },
};

/** What is measured of a worker by itself, on a database whose instance runs no exports. */
async function alone(context: BenchContext, upstreamPort: number, folder: string) {
  const instance = await startEctus(upstreamPort, { EXPORTS_ENABLED: "false" });
  try {
    context.note("making a million messages");
    const { id: tenantId } = await makeMessages(instance.ownerUrl, completions, 1);
    const job = { url: instance.databaseUrl, tenantId, folder };
    const speed = await measureSpeed(context, job);
    return [speed, await measureMemory(context, instance, job), await instance.durability()] as const;
  } finally {
    await instance.stop();
  }
}

interface Part {
  readonly rows: readonly Row[];
  readonly table: Table;
  readonly aims: readonly ReturnType<typeof toAim>[];
}

type Job = Pick<ExportJob, "url" | "tenantId" | "folder">;

async function measureSpeed({ note, signal }: BenchContext, job: Job): Promise<Part> {
  const clients = await peer("postgresql-clients");
  if (clients === undefined)
    throw new Error("psql is missing; get it with: npm run peers postgresql-clients");
  const measured = new Map<string, Measured[]>();
  let bytes = 0;
  await using running = new AsyncDisposableStack();
  const workers = new Map<Format, Worker>();
  for (const format of formats) {
    const worker = await startWorker();
    running.defer(() => worker.stop());
    workers.set(format, worker);
    // What it does first is compiled first, and the answers of the second path are kept.
    await worker.run({ ...job, format, isVerified: true });
  }
  for (let number = 1; number <= rounds; number += 1) {
    note(`round ${number} of ${rounds}`);
    for (const format of formats) {
      for (const kind of kinds) {
        signal.throwIfAborted();
        const result: Measured =
          kind === "pipe"
            ? await runPipe(clients.files.psql, { ...job, format })
            : await (workers.get(format) as Worker).run({ ...job, format, isVerified: kind === "compared" });
        bytes = result.bytes ?? bytes;
        const key = `${format} ${kind}`;
        measured.set(key, [...(measured.get(key) ?? []), result]);
      }
    }
  }
  const of = (format: Format, kind: Kind): readonly Measured[] => measured.get(`${format} ${kind}`) ?? [];
  const share = (format: Format, kind: Kind): number =>
    median(
      of(format, kind).map(({ seconds }, number) => (of(format, "pipe")[number]?.seconds ?? 0) / seconds),
    );
  const rows = formats.flatMap((format) =>
    kinds.map((kind) => ({
      format,
      how: titles[kind],
      seconds: round(median(of(format, kind).map(({ seconds }) => seconds))),
      cpuSeconds: round(median(of(format, kind).map(({ cpuSeconds }) => cpuSeconds))),
      share: round(share(format, kind)),
    })),
  );
  return {
    rows,
    table: {
      title: `1,000,000 messages (${Math.round(bytes / 1e6)} MB as NDJSON) into compressed parts on the disk`,
      head: ["format", "how", "seconds", "CPU beside the server, s", "share of the pipe's speed"],
      lines: rows.map((row) => Object.values(row).map(String)),
    },
    aims: formats.flatMap((format) => [
      toAim(
        `${format} without the second path, share of the pipe's speed`,
        share(format, "export"),
        "at-least",
        0.9,
      ),
      toAim(
        `${format} with the second path, share of the pipe's speed`,
        share(format, "compared"),
        "at-least",
        0.6,
      ),
    ]),
  };
}

interface Worker {
  run(job: ExportJob): Promise<ExportResult>;
  stop(): Promise<void>;
}

async function startWorker(): Promise<Worker> {
  // As `npm run ectus -- worker` is started.
  const { scripts } = JSON.parse(await readFile(join(import.meta.dirname, "../package.json"), "utf8"));
  const execArgv = String(scripts.ectus).split(" ").slice(1, -1);
  const child: ChildProcess = fork(join(import.meta.dirname, "export-process.ts"), { execArgv });
  const exited = once(child, "exit");
  return {
    async run(job) {
      child.send(job);
      const [result] = await Promise.race([
        once(child, "message"),
        exited.then(() => Promise.reject(new Error("an export process ended"))),
      ]);
      return result as ExportResult;
    },
    async stop() {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

/** One process a size, so that each begins anew. */
async function measureMemory({ note }: BenchContext, instance: Instance, job: Job): Promise<Part> {
  const sizes = [
    { title: "100 MB", completions: 60_000, times: 1 },
    { title: "1 GB", completions: 40_000, times: 24 },
    { title: "5 GB", completions: 200_000, times: 24 },
  ];
  const rows: Row[] = [];
  const peaks: number[] = [];
  for (const { title, completions, times } of sizes) {
    note(`memory of an export of ${title}`);
    const { id: tenantId } = await makeMessages(instance.ownerUrl, completions, times);
    const worker = await startWorker();
    const { bytes, seconds, peakBytes } = await worker
      .run({ ...job, tenantId, format: "ndjson", isVerified: true })
      .finally(() => worker.stop());
    await instance.removeMessages(tenantId);
    const peak = (peakBytes ?? Number.NaN) / 1e6;
    peaks.push(peak);
    rows.push({
      data: title,
      megabytes: Math.round(bytes / 1e6),
      seconds: round(seconds),
      peakMegabytes: round(peak),
    });
  }
  return {
    rows,
    table: {
      title: "The most memory that a worker had resident",
      head: ["export of", "MB of rows", "seconds", "MB resident at most"],
      lines: rows.map((row) => Object.values(row).map(String)),
    },
    aims: [
      toAim("worker's resident memory, MB, at most", Math.max(...peaks), "at-most", 200),
      toAim(
        "resident memory for 5 GB, times that for 100 MB",
        (peaks.at(-1) ?? 0) / (peaks[0] ?? 1),
        "at-most",
        1.2,
      ),
    ],
  };
}

/** Chats while no export runs and while one does, at the rate that is the default. */
async function measureRequests({ note }: BenchContext, instance: Instance, tenantId: string): Promise<Part> {
  await using running = new AsyncDisposableStack();
  const client: LoadClient = startLoadClient();
  running.defer(() => client.stop());
  const tenants = await instance.makeTenants(16);
  const requests = tenants.map(({ key }) => rawRequest("plain", { authorization: `Bearer ${key}` }));
  const measure = async () => client.run({ ...load, port: instance.port, requests });
  await measure();
  const p99 = { without: [] as number[], during: [] as number[] };
  const perSecond = { without: [] as number[], during: [] as number[] };
  for (let number = 1; number <= rounds; number += 1) {
    note(`requests beside an export, round ${number} of ${rounds}`);
    for (const when of ["without", "during"] as const) {
      const id = when === "during" ? await instance.startExport(tenantId, "zstd") : undefined;
      const { latency, requests, seconds } = await measure();
      if (id !== undefined) {
        if ((await instance.exportState(tenantId, id)) !== "running")
          throw new Error("the export was over too early");
        await instance.deleteExport(tenantId, id);
      }
      p99[when].push(latency.p99);
      perSecond[when].push(requests / seconds);
    }
  }
  const rows = (["without", "during"] as const).map((when) => ({
    export: when === "during" ? "one, at the default rate" : "none",
    requestsPerSecond: round(median(perSecond[when])),
    p99Ms: round(median(p99[when])),
  }));
  const times = median(p99.during.map((each, number) => each / (p99.without[number] ?? Number.NaN)));
  return {
    rows,
    table: {
      title: `Chats over ${load.connections} connections while an export runs in the same process`,
      head: ["export", "requests/s", "p99, ms"],
      lines: rows.map((row) => Object.values(row).map(String)),
    },
    aims: [toAim("p99 of chats during an export, times that without", times, "at-most", 1.5)],
  };
}

async function measureDownload(
  { note }: BenchContext,
  instance: Instance,
  tenantId: string,
  folder: string,
): Promise<Part & { readonly version: string }> {
  note("an export to download");
  const id = await instance.startExport(tenantId, "none");
  while ((await instance.exportState(tenantId, id)) !== "ready")
    await new Promise((resolve) => setTimeout(resolve, 250));
  const url = `${instance.url}/admin/tenants/${tenantId}/exports/${id}/download`;
  const authorization = `authorization: Bearer ${instance.operatorKey}`;
  const root = join(folder, "static");
  await mkdir(root);
  const answer = await fetch(url, {
    headers: { authorization: authorization.slice("authorization: ".length) },
  });
  await pipeline(Readable.fromWeb(answer.body as never), createWriteStream(join(root, "bag.tar")));
  const nginx = await startNginx(join(folder, "nginx"), root);
  const seconds = { ours: [] as number[], nginx: [] as number[] };
  let size = 0;
  try {
    for (let number = 0; number <= rounds; number += 1) {
      note(`download ${number} of ${rounds}`);
      const ours = await download(url, [authorization]);
      const theirs = await download(`${nginx.url}/bag.tar`);
      if (ours.bytes !== theirs.bytes) throw new Error("the downloads differ");
      size = ours.bytes;
      // The first is for warmth.
      if (number === 0) continue;
      seconds.ours.push(ours.seconds);
      seconds.nginx.push(theirs.seconds);
    }
  } finally {
    await nginx.stop();
  }
  const share = median(seconds.ours.map((each, number) => (seconds.nginx[number] ?? 0) / each));
  const rows = (["nginx", "ours"] as const).map((who) => ({
    server: who === "ours" ? "Ectus-R, laid out as it is sent" : `nginx ${nginx.version}, a file by sendfile`,
    megabytesPerSecond: round(size / 1e6 / median(seconds[who])),
  }));
  return {
    version: nginx.version,
    rows,
    table: {
      title: `Download of a bag of ${Math.round(size / 1e6)} MB by curl on one machine`,
      head: ["server", "MB/s"],
      lines: rows.map((row) => Object.values(row).map(String)),
    },
    aims: [toAim("download, share of nginx's speed", share, "at-least", 0.8)],
  };
}
