// All that a drill takes place on: the scratch instance with its PostgreSQL and its vendors, clients, and the alerting
// that watches it. What is started is stopped in the reverse order, whatever happens.
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ShorteningFactors } from "@ectus/alerting";
import type { Drill } from "../drill.ts";
import { type AlertmanagerApi, alertmanagerApi } from "../programs/alertmanager.ts";
import type { ProgramName } from "../programs/find-programs.ts";
import { prometheusApi } from "../programs/prometheus.ts";
import type { Receiver } from "../receiver/receiver.ts";
import { startUpstream, type Upstream } from "../upstream/upstream.ts";
import { startOwnAlertmanager, startOwnPrometheus, type WatchingPrometheus } from "./alerting.ts";
import { type EctusProcess, type Instance, plainModel, startInstance, startWorker } from "./instance.ts";
import { type ScratchPostgres, startScratchPostgres } from "./scratch-postgres.ts";
import { type Call, startTraffic, type Traffic } from "./traffic.ts";

/** What Prometheus scrapes besides the instance. */
export interface ScrapeTarget {
  readonly job: string;
  /** host:port */
  readonly address: string;
  /** On each series. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** What there is before Prometheus. */
export interface Parts {
  /** Scratch, removed in the end. Other users may pass through it. */
  readonly folder: string;
  /** Path of a program that the drill says it needs. */
  readonly program: (name: ProgramName) => string;
  readonly upstream: Upstream;
  /** Of the second vendor, which models with a fallback have. */
  readonly standby: Upstream;
  readonly postgres: ScratchPostgres;
  readonly instance: Instance;
  /** Runs `ectus worker` beside the instance, until the end. */
  readonly startWorker: () => Promise<EctusProcess>;
  /** Aborted when the drill ends: what runs in the background ends then. */
  readonly signal: AbortSignal;
  /** Undoes something in the end, before what was there before it. */
  readonly defer: (undo: () => Promise<void>) => void;
  /** Keeps what a program prints, for a drill that fails. */
  readonly keepLog: (name: string, log: () => string) => void;
}

export interface Rig extends Parts {
  readonly factors: ShorteningFactors;
  readonly traffic: Traffic;
  readonly prometheus: WatchingPrometheus;
  readonly alertmanager: AlertmanagerApi;
  /** Undefined when the Alertmanager is one that was there before, and sends elsewhere. */
  readonly receiver: Receiver | undefined;
  /** What the programs have logged, by name. */
  readonly logs: () => Readonly<Record<string, string>>;
  readonly close: () => Promise<void>;
}

/** Servers that run already, with rules that were shortened by the same factors. */
export interface RunningServers {
  readonly prometheus: string;
  readonly alertmanager: string;
  /** On 127.0.0.1, where that Prometheus scrapes the job ectus. */
  readonly metricsPort: number;
}

export interface RigOptions {
  readonly drill: Drill;
  readonly factors: ShorteningFactors;
  /** Command and first arguments that run `ectus`. */
  readonly ectus: readonly [string, ...string[]];
  /** An empty folder. */
  readonly folder: string;
  /** Paths of Prometheus, Alertmanager and what the drill needs besides. */
  readonly programs: Readonly<Partial<Record<ProgramName, string>>>;
  readonly running?: RunningServers | undefined;
  readonly signal: AbortSignal;
}

const usualPattern: readonly Call[] = ["chat", "stream", "models", "chat", "stream"];
const usualPerSecond = 20;

export async function startRig(options: RigOptions): Promise<Rig> {
  const started = new AsyncDisposableStack();
  const ending = new AbortController();
  const close = async (): Promise<void> => {
    // First, so that nothing in the background works on what is being stopped.
    ending.abort();
    await started.disposeAsync();
  };
  try {
    return { ...(await assemble(options, started, ending.signal)), close };
  } catch (error) {
    // The first fault says more than those that follow from it.
    await close().catch(() => {});
    throw error;
  }
}

async function assemble(
  options: RigOptions,
  started: AsyncDisposableStack,
  ending: AbortSignal,
): Promise<Omit<Rig, "close">> {
  const { drill, factors, folder, running, ectus } = options;
  const signal = AbortSignal.any([options.signal, ending]);
  const logs = new Map<string, () => string>();
  const defer = (undo: () => Promise<void>): void => void started.defer(undo);
  const keepLog = (name: string, log: () => string): void => void logs.set(name, log);
  const program = (name: ProgramName): string => options.programs[name] ?? name;
  /** Waits for what is being started, and sees to its end. */
  const begin = async <T>(starting: Promise<T>, end: (thing: T) => Promise<void>): Promise<T> => {
    const thing = await starting;
    defer(() => end(thing));
    return thing;
  };
  const folderOf = async (name: string): Promise<string> => {
    const path = join(folder, name);
    // The user of the embedded PostgreSQL has to pass.
    await mkdir(path, { mode: 0o711 });
    return path;
  };
  await chmod(folder, 0o711);

  const dataDir = await folderOf("data");
  const needs = drill.instance ?? {};
  async function startService() {
    const [upstream, standby, postgres] = await together([
      begin(startUpstream(), (vendor) => vendor.close()),
      begin(startUpstream(), (vendor) => vendor.close()),
      begin(startScratchPostgres(dataDir, signal), (server) => server.stop()),
    ]);
    keepLog("postgres", postgres.log);
    signal.throwIfAborted();
    const metricsPort = running?.metricsPort;
    const starting = startInstance({
      ectus,
      folder: dataDir,
      postgres,
      needs,
      upstream,
      standby,
      metricsPort,
    });
    const instance = await begin(starting, (process) => process.stop());
    keepLog("instance", instance.log);
    return { upstream, standby, postgres, instance };
  }
  async function startNotifying(): Promise<{
    alertmanager: AlertmanagerApi;
    receiver: Receiver | undefined;
  }> {
    if (running !== undefined)
      return { alertmanager: alertmanagerApi(running.alertmanager), receiver: undefined };
    const starting = startOwnAlertmanager({
      path: program("alertmanager"),
      folder: await folderOf("alertmanager"),
      factors,
    });
    const own = await begin(starting, ({ stop }) => stop());
    keepLog("alertmanager", own.alertmanager.log);
    return own;
  }
  const [service, { alertmanager, receiver }] = await together([startService(), startNotifying()]);
  signal.throwIfAborted();

  const parts: Parts = {
    ...service,
    folder,
    program,
    signal,
    defer,
    keepLog,
    async startWorker() {
      const starting = startWorker({ ectus, folder: dataDir, postgres: service.postgres, needs });
      const worker = await begin(starting, (process) => process.stop());
      keepLog("worker", worker.log);
      return worker;
    },
  };
  const { instance } = service;
  const more = (await drill.prepare?.(parts)) ?? [];
  const traffic = startTraffic({
    baseUrl: instance.url,
    key: instance.tenant.key,
    model: plainModel,
    pattern: usualPattern,
    perSecond: usualPerSecond,
    ...drill.traffic,
    signal,
  });
  defer(() => traffic.stop());
  const prometheus =
    running === undefined
      ? await begin(
          startOwnPrometheus({
            path: program("prometheus"),
            folder: await folderOf("prometheus"),
            factors,
            alertmanager: alertmanager.url,
            targets: [{ job: "ectus", address: instance.metricsAddress }, ...more],
          }),
          (server) => server.stop(),
        )
      : runningPrometheus(running.prometheus);
  keepLog("prometheus", prometheus.log);
  signal.throwIfAborted();
  return {
    ...parts,
    factors,
    traffic,
    prometheus,
    alertmanager,
    receiver,
    logs: () => Object.fromEntries([...logs].map(([name, log]) => [name, log()])),
  };
}

function runningPrometheus(url: string): WatchingPrometheus {
  const refuse = (): Promise<never> =>
    Promise.reject(new Error("a Prometheus that was there before is not the drill's to stop"));
  return { ...prometheusApi(url), log: () => "", stop: refuse, start: refuse };
}

/** What all of them give. When one fails the others are waited for, so that each is stopped, and the first fault is thrown. */
async function together<T extends readonly Promise<unknown>[]>(
  starting: readonly [...T],
): Promise<{ [K in keyof T]: Awaited<T[K]> }> {
  const results = await Promise.allSettled(starting);
  const fault = results.find(({ status }) => status === "rejected");
  if (fault?.status === "rejected") throw fault.reason;
  return results.map((result) => (result.status === "fulfilled" ? result.value : undefined)) as {
    [K in keyof T]: Awaited<T[K]>;
  };
}
