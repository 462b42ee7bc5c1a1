// What Ectus-R costs as a gateway: one mock upstream called directly, through Ectus-R with a real PostgreSQL that
// commits each request's usage before it is answered, and through Portkey's gateway; interleaved, medians of rounds.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Instance, startEctus, type Tenant } from "./instance.ts";
import type { LoadJob } from "./load-client.ts";
import { describeMachine } from "./machine.ts";
import { measureMemory } from "./memory.ts";
import { type Portkey, portkeyHeaders, startPortkey } from "./portkey.ts";
import { childrenCpuMs, cpuMs } from "./proc.ts";
import { type LoadClient, startLoadClient, startUpstream, type Upstream } from "./processes.ts";
import { type Aim, type Bench, median, type Row, round, type Table, toAim } from "./report.ts";
import { type RequestKind, rawRequest } from "./requests.ts";
import { measureSettlement } from "./settlement.ts";

const rounds = 5;
const tenantCount = 50;

const scenarios = [
  { name: "one connection", kind: "plain", connections: 1, warmup: 100, count: 1_000, maxMs: 10_000 },
  { name: "64 connections", kind: "plain", connections: 64, warmup: 500, count: 100_000, maxMs: 3_000 },
  { name: "stream, one connection", kind: "stream", connections: 1, warmup: 20, count: 200, maxMs: 10_000 },
] as const satisfies readonly Scenario[];

interface Scenario extends Omit<LoadJob, "port" | "requests"> {
  readonly name: string;
  readonly kind: RequestKind;
}

interface Target {
  readonly name: string;
  /** Scenarios that it takes part in. */
  readonly scenarios: readonly string[];
  /** Whether each of its answers leaves a row of usage. */
  readonly settles: boolean;
  measure(client: LoadClient, scenario: Scenario): Promise<Measured>;
}

interface Endpoint {
  readonly port: number;
  /** Headers of each caller. */
  readonly callers: readonly Readonly<Record<string, string>>[];
  /** CPU milliseconds used so far. */
  readonly gatewayCpu?: () => Promise<number | null>;
  readonly databaseCpu?: () => Promise<number | null>;
}

interface Measured {
  readonly measured: Measurement;
  readonly answers: number;
}

interface Measurement {
  readonly p50Ms: number;
  readonly p99Ms: number | null;
  readonly firstByteP50Ms: number | null;
  readonly requestsPerSecond: number | null;
  readonly gatewayCpuMs: number | null;
  readonly databaseCpuMs: number | null;
}

const unknown = async (): Promise<null> => null;
const nothing = {
  p99Ms: null,
  firstByteP50Ms: null,
  requestsPerSecond: null,
  gatewayCpuMs: null,
  databaseCpuMs: null,
};
const every = scenarios.map(({ name }) => name);
const direct = "direct";
const ectus = "Ectus-R";
const ectusHot = "Ectus-R, one hot tenant";
const ectusUnmeasured = "Ectus-R, without metrics";
const ectusUnwaited = "Ectus-R, not waiting for the disk";
const settlement = "its settlement alone";
const settlementUnwaited = "its settlement alone, not waiting for the disk";
const portkey = "Portkey";

export const gateway: Bench = {
  name: "gateway",
  async run({ note, signal }) {
    await using started = new AsyncDisposableStack();
    const own = <T extends { stop(): Promise<void> }>(process: T): T =>
      started.adopt(process, () => process.stop());
    const machine = await describeMachine();
    const upstream = own(await startUpstream());
    const client = own(startLoadClient());
    const other = own(await startPortkey());
    const streams = await other.streams(upstream.port);
    if (!streams) note("Portkey does not answer streams here, so those are measured without it");
    const instance = own(await startEctus(upstream.port));
    const tenants = await instance.makeTenants(tenantCount);
    const unmeasured = own(await startEctus(upstream.port, { METRICS_ENABLED: "false" }));
    const unmeasuredTenants = await unmeasured.makeTenants(tenantCount);
    const durability = await instance.durability();
    const targets = targetsOf({
      upstream,
      instance,
      tenants,
      unmeasured,
      unmeasuredTenants,
      other,
      streams,
    });

    let answers = 0;
    const measurements = new Map<string, Measurement[]>();
    for (let number = 0; number <= rounds; number++) {
      note(number === 0 ? "warming up" : `round ${number} of ${rounds}`);
      for (const scenario of scenarios) {
        // Each round begins with another target, so that what drifts does not fall on the same one.
        for (let turn = 0; turn < targets.length; turn++) {
          signal.throwIfAborted();
          const target = targets[(number + turn) % targets.length] as Target;
          if (!target.scenarios.includes(scenario.name)) continue;
          const { measured, answers: more } = await target.measure(client, scenario);
          if (target.settles) answers += more;
          if (number > 0) addTo(measurements, `${scenario.name}/${target.name}`, measured);
        }
      }
    }
    note("memory");
    await instance.setSynchronousCommit(true);
    const memory = await measureMemory({ client, instance, tenants });
    answers += memory.answers;
    // A request that was on its way when a measurement ended is settled too, so there may be a few rows more.
    const settled = await instance.usageRows();
    if (settled < answers)
      throw new Error(`${answers} answers were seen, but ${settled} are in the table of usage`);
    note(`${answers} answers of Ectus-R, ${settled} rows of usage`);

    const rows = rowsOf(measurements);
    return {
      report: {
        machine,
        versions: { ...(await versionsOf(other)), ...durability },
        rows: [...rows, ...memory.rows],
        aims: [...aimsOf(rows), ...memory.aims],
      },
      tables: [...tablesOf(rows), memory.table],
    };
  },
};

interface Parties {
  readonly upstream: Upstream;
  readonly instance: Instance;
  readonly tenants: readonly Tenant[];
  /** The same without metrics. */
  readonly unmeasured: Instance;
  readonly unmeasuredTenants: readonly Tenant[];
  readonly other: Portkey;
  /** Whether the other gateway streams. */
  readonly streams: boolean;
}

function targetsOf({ upstream, instance, tenants, other, streams, ...more }: Parties): readonly Target[] {
  const [first] = tenants as readonly [Tenant, ...Tenant[]];
  const own = endpointOf(instance, tenants);
  const ectusTarget = (wait: boolean, endpoint: Endpoint): Pick<Target, "settles" | "measure"> => ({
    settles: true,
    async measure(client, scenario) {
      await instance.setSynchronousCommit(wait);
      return measure(client, scenario, endpoint);
    },
  });
  const settlementTarget = (wait: boolean): Pick<Target, "scenarios" | "settles" | "measure"> => ({
    scenarios: ["one connection"],
    settles: true,
    async measure() {
      await instance.setSynchronousCommit(wait);
      const { p50Ms, settlements } = await measureSettlement(instance.databaseUrl, first);
      return { measured: { ...nothing, p50Ms }, answers: settlements };
    },
  });
  const plain = (endpoint: Endpoint): Pick<Target, "settles" | "measure"> => ({
    settles: false,
    measure: (client, scenario) => measure(client, scenario, endpoint),
  });
  return [
    {
      name: direct,
      scenarios: every,
      ...plain({ port: upstream.port, callers: [{ authorization: "Bearer sk-bench" }] }),
    },
    { name: ectus, scenarios: every, ...ectusTarget(true, own) },
    { name: ectusUnwaited, scenarios: every, ...ectusTarget(false, own) },
    {
      name: ectusHot,
      scenarios: ["64 connections"],
      ...ectusTarget(true, { ...own, callers: own.callers.slice(0, 1) }),
    },
    {
      name: ectusUnmeasured,
      scenarios: ["64 connections"],
      ...plain(endpointOf(more.unmeasured, more.unmeasuredTenants)),
    },
    { name: settlement, ...settlementTarget(true) },
    { name: settlementUnwaited, ...settlementTarget(false) },
    {
      name: portkey,
      scenarios: streams ? every : every.filter((name) => name !== "stream, one connection"),
      ...plain({
        port: other.port,
        callers: [portkeyHeaders(upstream.port)],
        gatewayCpu: () => cpuMs(other.pid),
      }),
    },
  ];
}

function endpointOf({ port, pid }: Instance, tenants: readonly Tenant[]): Endpoint {
  return {
    port,
    callers: tenants.map(({ key }) => ({ authorization: `Bearer ${key}` })),
    gatewayCpu: () => cpuMs(pid),
    databaseCpu: () => childrenCpuMs(pid),
  };
}

async function measure(
  client: LoadClient,
  { name: _, kind, ...job }: Scenario,
  { port, callers, gatewayCpu = unknown, databaseCpu = unknown }: Endpoint,
): Promise<Measured> {
  const requests = callers.map((headers) => rawRequest(kind, headers));
  const cpu = () => Promise.all([gatewayCpu(), databaseCpu()]);
  let before = cpu();
  const result = await client.run({ ...job, port, requests }, { measuring: () => (before = cpu()) });
  const [from, to] = [await before, await cpu()];
  const perRequest = (a: number | null, b: number | null): number | null =>
    a === null || b === null ? null : (b - a) / result.requests;
  return {
    answers: result.answers,
    measured: {
      p50Ms: result.latency.p50,
      p99Ms: result.latency.p99,
      firstByteP50Ms: result.firstByte.p50,
      requestsPerSecond: result.requests / result.seconds,
      gatewayCpuMs: perRequest(from[0], to[0]),
      databaseCpuMs: perRequest(from[1], to[1]),
    },
  };
}

function addTo<T>(lists: Map<string, T[]>, name: string, value: T): void {
  const list = lists.get(name);
  if (list === undefined) lists.set(name, [value]);
  else list.push(value);
}

type Medians = Readonly<Record<keyof Measurement, number | null>> & {
  readonly scenario: string;
  readonly target: string;
  /** What the gateway adds to calling the upstream directly. */
  readonly addedP50Ms: number | null;
  readonly addedFirstByteP50Ms: number | null;
};

const gateways: readonly string[] = [ectus, ectusHot, ectusUnmeasured, ectusUnwaited, portkey];

function rowsOf(measurements: ReadonlyMap<string, readonly Measurement[]>): readonly (Medians & Row)[] {
  const middle = (values: readonly (number | null)[]): number | null => {
    const known = values.filter((value) => value !== null);
    return known.length === 0 ? null : round(median(known));
  };
  const order = [
    direct,
    ectus,
    ectusHot,
    ectusUnmeasured,
    ectusUnwaited,
    settlement,
    settlementUnwaited,
    portkey,
  ];
  return scenarios.flatMap(({ name: scenario }) => {
    const base = measurements.get(`${scenario}/${direct}`) ?? [];
    return order.flatMap((target) => {
      const list = measurements.get(`${scenario}/${target}`);
      if (list === undefined) return [];
      const all = (field: keyof Measurement): number | null => middle(list.map((one) => one[field]));
      // The difference is taken within each round, then the median of differences.
      const added = (field: "p50Ms" | "firstByteP50Ms"): number | null =>
        gateways.includes(target)
          ? middle(
              list.map((one, number) => (one[field] ?? Number.NaN) - (base[number]?.[field] ?? Number.NaN)),
            )
          : null;
      return {
        scenario,
        target,
        p50Ms: all("p50Ms"),
        addedP50Ms: added("p50Ms"),
        p99Ms: all("p99Ms"),
        firstByteP50Ms: all("firstByteP50Ms"),
        addedFirstByteP50Ms: added("firstByteP50Ms"),
        requestsPerSecond: all("requestsPerSecond"),
        gatewayCpuMs: all("gatewayCpuMs"),
        databaseCpuMs: all("databaseCpuMs"),
      };
    });
  });
}

function aimsOf(rows: readonly Medians[]): readonly Aim[] {
  const value = (scenario: string, target: string, field: keyof Measurement | "addedP50Ms"): number =>
    rows.find((row) => row.scenario === scenario && row.target === target)?.[field] ?? Number.NaN;
  const [one, many] = ["one connection", "64 connections"];
  const added = value(one, ectus, "addedP50Ms");
  const othersAdded = value(one, portkey, "addedP50Ms");
  const times = (target: string): number =>
    value(many, target, "requestsPerSecond") / value(many, portkey, "requestsPerSecond");
  return [
    toAim("added p50 at one connection, ms (Portkey's)", added, "at-most", othersAdded),
    toAim(
      "the same less the wait for the settlement's commit, ms (half of Portkey's)",
      added - value(one, settlement, "p50Ms"),
      "at-most",
      othersAdded / 2,
    ),
    toAim("requests/s at 64 connections over 50 tenants, times Portkey's", times(ectus), "at-least", 3),
    toAim("requests/s at 64 connections of one tenant, times Portkey's", times(ectusHot), "at-least", 1.5),
  ];
}

function tablesOf(rows: readonly Medians[]): readonly Table[] {
  const cell = (value: number | null): string => (value === null ? "" : String(value));
  return scenarios.map(({ name, kind }) => {
    const streamed = kind === "stream";
    return {
      title: `${name[0]?.toUpperCase()}${name.slice(1)}`,
      head: [
        "through",
        streamed ? "first byte p50, ms" : "p50, ms",
        "added, ms",
        "p99, ms",
        "requests/s",
        "CPU of gateway, ms/request",
        "of PostgreSQL",
      ],
      lines: rows
        .filter((row) => row.scenario === name)
        .map((row) => [
          row.target,
          cell(streamed ? row.firstByteP50Ms : row.p50Ms),
          cell(streamed ? row.addedFirstByteP50Ms : row.addedP50Ms),
          cell(row.p99Ms),
          cell(row.requestsPerSecond),
          cell(row.gatewayCpuMs),
          cell(row.databaseCpuMs),
        ]),
    };
  });
}

async function versionsOf(other: Portkey): Promise<Record<string, string>> {
  const text = await readFile(join(import.meta.dirname, "../package.json"), "utf8");
  const { version } = JSON.parse(text) as { version: string };
  return { "ectus-r": version, node: process.versions.node, "@portkey-ai/gateway": other.version };
}
