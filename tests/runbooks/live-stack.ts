// Everything that somebody on call may ask, for real: an instance with some traffic behind it, Prometheus with the
// project's rules, Alertmanager with its configuration, Jaeger, node_exporter, and a cluster with kube-state-metrics.
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shortenAlertmanagerConfig } from "@ectus/alerting";
import {
  type Prometheus,
  startAlertmanager,
  startKubeStateMetrics,
  startNodeExporter,
  startPrometheus,
} from "@ectus/drills";
import { type PathsOf, peer } from "@ectus/peers";
import pg from "pg";
import { findFreePort } from "../free-port.ts";
import { type Instance, startInstance } from "../monitoring/start-instance.ts";
import { until } from "../postgres/until.ts";
import { type Cluster, nodeName, startCluster } from "./cluster.ts";
import { startStoredJaeger } from "./start-stored-jaeger.ts";
import { driveTraffic, makeExport, makeTenant } from "./traffic.ts";

const peerNames = [
  "prometheus",
  "alertmanager",
  "node-exporter",
  "kubernetes",
  "kube-state-metrics",
  "jaeger",
  "postgresql-clients",
] as const;

export type StackPeers = { readonly [Name in (typeof peerNames)[number]]: PathsOf<Name> };

/** The programs that a stack is made of; undefined when one is missing, which is said on standard error. */
export async function findStackPeers(): Promise<StackPeers | undefined> {
  const found = await Promise.all(peerNames.map(async (name) => [name, await peer(name)] as const));
  return found.some(([, paths]) => paths === undefined)
    ? undefined
    : (Object.fromEntries(found) as unknown as StackPeers);
}

export interface LiveStack {
  readonly prometheus: Prometheus;
  /** Where everything is, as variables. */
  readonly environment: Readonly<Record<string, string>>;
  /**
   * What a document's commands find in their environment: the variables of docs/runbooks/README.md, about a tenant and
   * a database connection that nobody else uses. Deployments are set back before. What its commands do not name is not
   * made.
   */
  environmentFor(document: string, commands: string): Promise<Readonly<Record<string, string>>>;
  /** A pod of the API that is there now. */
  pod(): Promise<string>;
  /** The folder that commands run in. */
  readonly folder: string;
  stop(): Promise<void>;
}

const root = join(import.meta.dirname, "..", "..");
const rules = join(root, "k8s", "prometheus");
const scrapeTimeoutMs = 60_000;

export async function startLiveStack(peers: StackPeers): Promise<LiveStack> {
  await using started = new AsyncDisposableStack();
  const keep = <T extends { stop(): Promise<void> }>(program: T): T => {
    started.defer(() => program.stop());
    return program;
  };
  const folder = await mkdtemp(join(tmpdir(), "ectus-runbooks-"));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const scratch = async (name: string): Promise<string> => {
    await mkdir(join(folder, name));
    return join(folder, name);
  };
  const bin = await scratch("bin");
  await linkPrograms(bin, peers);
  const work = await scratch("work");

  const jaeger = keep(await startStoredJaeger(peers.jaeger.files.jaeger));
  // Those that are started at the same time are kept one by one: one that fails must not leave the others.
  const startingInstance = startInstance({
    OTEL_EXPORTER_OTLP_ENDPOINT: jaeger.otlpUrl,
    OTEL_TRACES_SAMPLER_ARG: "1",
  }).then(keep);
  const startingCluster = startCluster(peers.kubernetes.files).then(keep);
  await Promise.allSettled([startingInstance, startingCluster]);
  const [instance, cluster] = await Promise.all([startingInstance, startingCluster]);
  const kubeStateMetrics = keep(
    await startKubeStateMetrics({
      path: peers["kube-state-metrics"].files["kube-state-metrics"],
      kubeconfig: cluster.kubeconfig,
    }),
  );
  const nodeExporter = keep(await startNodeExporter({ path: peers["node-exporter"].files.node_exporter }));
  const slack = keep(await startTakingAll());
  const alertmanagerFolder = await scratch("alertmanager");
  const config = await readFile(join(rules, "alertmanager", "config.yaml"), "utf8");
  const alertmanager = keep(
    await startAlertmanager({
      path: peers.alertmanager.files.alertmanager,
      folder: alertmanagerFolder,
      config: shortenAlertmanagerConfig(config, {
        factor: 1,
        folder: alertmanagerFolder,
        pagerDutyUrl: slack.url,
      }),
      templates: await readTexts(join(rules, "alertmanager", "templates"), ".tmpl"),
      secrets: Object.fromEntries(
        [...config.matchAll(/secrets\/([\w-]+)/g)].map(([, name = ""]) => [name, slack.url]),
      ),
    }),
  );
  const prometheusFolder = await scratch("prometheus");
  const port = await findFreePort();
  const prometheus = keep(
    await startPrometheus({
      path: peers.prometheus.files.prometheus,
      folder: prometheusFolder,
      port,
      ruleFiles: await readTexts(rules, "rules.yaml", "alerts.yaml"),
      config: prometheusConfig({
        ectus: new URL(instance.metricsUrl).host,
        node: nodeExporter.address,
        "kube-state-metrics": kubeStateMetrics.address,
        alertmanager: new URL(alertmanager.url).host,
        jaeger: jaeger.metricsAddress,
        prometheus: `127.0.0.1:${port}`,
      }),
    }),
  );
  await driveTraffic(instance);
  await allScraped(prometheus);
  // Once more: what was there at the first scrape has no rate.
  const requestId = await driveTraffic(instance);
  await ratesSeen(prometheus);

  const fixed = {
    PATH: `${bin}:/usr/local/bin:/usr/bin:/bin`,
    HOME: work,
    ECTUS_URL: instance.url,
    ECTUS_OPERATOR_KEY: instance.operatorKey,
    PROMETHEUS_URL: prometheus.url,
    ALERTMANAGER_URL: alertmanager.url,
    JAEGER_URL: jaeger.url,
    DATABASE_OWNER_URL: instance.ownerUrl,
    KUBECONFIG: cluster.kubeconfig,
    REQUEST_ID: requestId,
    NODE: nodeName,
  };
  const environments = keep(createEnvironments({ fixed, instance, cluster }));
  const running = started.move();
  return {
    prometheus,
    folder: work,
    environment: fixed,
    environmentFor: environments.make,
    pod: cluster.pod,
    stop: () => running.disposeAsync(),
  };
}

interface Environments {
  readonly make: (document: string, commands: string) => Promise<Readonly<Record<string, string>>>;
  stop(): Promise<void>;
}

function createEnvironments(parts: {
  readonly fixed: Readonly<Record<string, string>>;
  readonly instance: Instance;
  readonly cluster: Cluster;
}): Environments {
  const { fixed, instance, cluster } = parts;
  let held: pg.Client | undefined;
  const letGo = async (): Promise<void> => {
    await held?.end().catch(() => {});
    held = undefined;
  };
  return {
    async make(document, commands) {
      await letGo();
      const found: Record<string, string> = { ...fixed };
      if (commands.includes("kubectl")) await cluster.reset();
      if (/\b(TENANT|KEY_ID|EXPORT_ID)\b/.test(commands)) {
        const tenant = await makeTenant(instance, document);
        Object.assign(found, { TENANT: tenant.id, KEY_ID: tenant.keyId });
        if (commands.includes("EXPORT_ID")) found.EXPORT_ID = await makeExport(instance, tenant);
      }
      if (/\bPID\b/.test(commands)) {
        // A connection of somebody's that does nothing, and that a runbook may end.
        held = new pg.Client({ connectionString: instance.ownerUrl, application_name: "somebody" });
        held.on("error", () => {});
        await held.connect();
        const { rows } = await held.query("select pg_backend_pid() as pid");
        found.PID = String(rows[0].pid);
      }
      return found;
    },
    stop: letGo,
  };
}

/** The programs that an engineer on call has on PATH, and no others of ours. */
async function linkPrograms(bin: string, peers: StackPeers): Promise<void> {
  const { psql } = peers["postgresql-clients"].files;
  const { amtool } = peers.alertmanager.files;
  const { promtool } = peers.prometheus.files;
  const { kubectl } = peers.kubernetes.files;
  for (const [name, path] of Object.entries({ psql, amtool, promtool, kubectl }))
    await symlink(path, join(bin, name));
  const main = join(root, "packages", "cli", "src", "main.ts");
  // The cache halves what each start costs.
  const start = `NODE_COMPILE_CACHE='${join(bin, ".cache")}' exec '${process.execPath}' '${main}' "$@"`;
  await writeFile(join(bin, "ectus"), `#!/bin/sh\n${start}\n`);
  await chmod(join(bin, "ectus"), 0o755);
  // On many machines, and not among the programs that a document may count on.
  await writeFile(join(bin, "jq"), "#!/bin/sh\necho 'not everybody on call has jq' >&2\nexit 127\n");
  await chmod(join(bin, "jq"), 0o755);
}

async function readTexts(folder: string, ...endings: readonly string[]): Promise<Record<string, string>> {
  const names = (await readdir(folder)).filter((name) => endings.some((ending) => name.endsWith(ending)));
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), "utf8")] as const)),
  );
}

function prometheusConfig(targets: Readonly<Record<string, string>>): Record<string, unknown> {
  const { alertmanager = "" } = targets;
  const job = (name: string, target: string) => ({
    job_name: name,
    static_configs: [
      { targets: [target], labels: name === "ectus" || name === "node" ? { node: nodeName } : {} },
    ],
  });
  return {
    global: {
      scrape_interval: "1s",
      scrape_timeout: "1s",
      evaluation_interval: "1s",
      external_labels: {
        runbooks_url: "https://example.com/runbooks",
        traces_url: "https://jaeger.example.com",
        prometheus_replica: "a",
      },
    },
    alerting: { alertmanagers: [{ static_configs: [{ targets: [alertmanager] }] }] },
    scrape_configs: Object.entries(targets).map(([name, target]) => job(name, target)),
  };
}

/** Resolves when all targets are up, and rules have been evaluated on what they said. */
async function allScraped(prometheus: Prometheus): Promise<void> {
  await until(
    async () => {
      const [targets, evaluated] = await Promise.all([prometheus.targets(), prometheus.rules()]);
      return (
        targets.every(({ health }) => health === "up") && evaluated.every(({ health }) => health === "ok")
      );
    },
    scrapeTimeoutMs,
    200,
  );
}

/** Resolves when rules have been evaluated on traffic. */
async function ratesSeen(prometheus: Prometheus): Promise<void> {
  await until(
    async () => (await prometheus.query("job:http_requests:rate5m > 0")).length > 0,
    scrapeTimeoutMs,
    200,
  );
}

/** Takes every message that Alertmanager sends. */
async function startTakingAll(): Promise<{ url: string; stop(): Promise<void> }> {
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => response.end("ok"));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
