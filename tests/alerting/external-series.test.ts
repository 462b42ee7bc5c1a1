// The series of other programs that rules and runbooks may use are those that the real programs expose: each is there,
// with the type and the labels that are written down. Another version that renames one fails here.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  setPodStatus,
  startAlertmanager,
  startControlPlane,
  startKubeStateMetrics,
  startNodeExporter,
  startProgram,
  startPrometheus,
} from "@ectus/drills";
import { type ExternalProgram, externalPrograms, externalSeries, syntheticSeries } from "@ectus/monitoring";
import { peer } from "@ectus/peers";
import { afterAll, describe, expect, test } from "vitest";
import { findFreePort } from "../free-port.ts";
import { type Metrics, scrapeMetrics } from "../monitoring/read-metrics.ts";
import { until } from "../postgres/until.ts";

const [prometheus, alertmanager, nodeExporter, jaeger, kubernetes, kubeStateMetrics] = [
  await peer("prometheus"),
  await peer("alertmanager"),
  await peer("node-exporter"),
  await peer("jaeger"),
  await peer("kubernetes"),
  await peer("kube-state-metrics"),
];

const started = new AsyncDisposableStack();
afterAll(() => started.disposeAsync());

async function scratchFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-series-"));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function namesOf(program: ExternalProgram): readonly string[] {
  return Object.keys(externalSeries).filter(
    (name) => externalSeries[name]?.program === program && !syntheticSeries.includes(name),
  );
}

/** Labels of the samples of a family with their values, but those that its type makes. */
function labelsOf(name: string, { samples }: Metrics): ReadonlyMap<string, ReadonlySet<string>> {
  const type = externalSeries[name]?.type;
  const own =
    type === "histogram" || type === "summary" ? new RegExp(`^${name}(_bucket|_sum|_count)?$`) : undefined;
  const values = new Map<string, Set<string>>();
  for (const sample of samples) {
    if (own === undefined ? sample.name !== name : !own.test(sample.name)) continue;
    for (const [label, value] of Object.entries(sample.labels)) {
      if (own !== undefined && (label === "le" || label === "quantile")) continue;
      values.set(label, (values.get(label) ?? new Set()).add(value));
    }
  }
  return values;
}

/** What is not as it is written down. */
function differences(names: readonly string[], metrics: Metrics): readonly string[] {
  return names.flatMap((name) => {
    const written = externalSeries[name];
    const type = metrics.types.get(name);
    if (written === undefined || type === undefined) return [`${name} is not there`];
    const seen = labelsOf(name, metrics);
    const labels = Object.keys(written.labels);
    return [
      ...(type === written.type ? [] : [`${name} is a ${type}`]),
      ...[...seen.keys()].filter((label) => !labels.includes(label)).map((label) => `${name} has ${label}`),
      ...labels.filter((label) => !seen.has(label)).map((label) => `${name} has no ${label}`),
      ...Object.entries(written.labels).flatMap(([label, rule]) =>
        "values" in rule
          ? [...(seen.get(label) ?? [])]
              .filter((value) => !rule.values.includes(value))
              .map((value) => `${name} has ${label}="${value}"`)
          : [],
      ),
    ];
  });
}

/** Resolves with a scrape of a program when all its series are there. */
async function scrapeAll(program: ExternalProgram, url: string): Promise<Metrics> {
  let metrics: Metrics | undefined;
  await until(
    async () => {
      metrics = await scrapeMetrics(url);
      return namesOf(program).every((name) => metrics?.types.has(name));
    },
    60_000,
    200,
  ).catch(() => {
    // The comparison says what is missing.
  });
  return metrics as Metrics;
}

test("the programs are those that are tested with", () => {
  const versions = {
    prometheus: prometheus?.version,
    alertmanager: alertmanager?.version,
    node_exporter: nodeExporter?.version,
    "kube-state-metrics": kubeStateMetrics?.version,
    jaeger: jaeger?.version,
  };
  for (const [name, version] of Object.entries(versions))
    if (version !== undefined) expect(version, name).toContain(externalPrograms[name as ExternalProgram]);
});

describe.skipIf(!prometheus || !alertmanager)("of Prometheus and Alertmanager", () => {
  test("each series is as written down", { timeout: 150_000 }, async () => {
    const manager = await startAlertmanager({
      path: alertmanager?.files.alertmanager ?? "",
      folder: await scratchFolder(),
      // Nobody listens there, so notifications fail too.
      config:
        'route: { receiver: none, group_wait: 1s }\nreceivers: [{ name: none, webhook_configs: [{ url: "http://127.0.0.1:1" }] }]\n',
      templates: {},
      secrets: {},
    });
    started.defer(() => manager.stop());
    const port = await findFreePort();
    const server = await startPrometheus({
      path: prometheus?.files.prometheus ?? "",
      folder: await scratchFolder(),
      port,
      config: {
        global: { scrape_interval: "1s", evaluation_interval: "1s" },
        alerting: { alertmanagers: [{ static_configs: [{ targets: [`127.0.0.1:${manager.port}`] }] }] },
        scrape_configs: [{ job_name: "prometheus", static_configs: [{ targets: [`127.0.0.1:${port}`] }] }],
      },
      ruleFiles: {
        "rules.yaml": `groups:
  - name: a
    rules:
      - alert: Always
        expr: vector(1)
        labels: { severity: page, team: platform, area: api }
      - alert: Soon
        expr: vector(1)
        for: 1h
        labels: { severity: ticket, team: platform, area: api }
`,
      },
    });
    started.defer(() => server.stop());

    // What Prometheus makes of each target and alert, which no scrape shows.
    await until(
      async () =>
        (await server.query("up")).length === 1 &&
        (await server.query('ALERTS{alertstate="firing"}')).length === 1,
      30_000,
      100,
    );
    for (const name of syntheticSeries) {
      const found = await server.query(name);
      expect(found.length, name).toBeGreaterThan(0);
      const written = Object.keys(externalSeries[name]?.labels ?? {});
      const added = externalSeries[name]?.anyLabel === true ? [] : ["instance", "job"];
      for (const { metric } of found)
        expect(Object.keys(metric).sort(), name).toEqual(["__name__", ...written, ...added].sort());
    }
    expect(
      differences(namesOf("prometheus"), await scrapeAll("prometheus", `${server.url}/metrics`)),
    ).toEqual([]);
    expect(
      differences(namesOf("alertmanager"), await scrapeAll("alertmanager", `${manager.url}/metrics`)),
    ).toEqual([]);
  });
});

describe.skipIf(!nodeExporter)("of node_exporter", () => {
  test("each series is as written down", { timeout: 90_000 }, async () => {
    const exporter = await startNodeExporter({ path: nodeExporter?.files.node_exporter ?? "" });
    started.defer(() => exporter.stop());
    const metrics = await scrapeMetrics(`http://${exporter.address}/metrics`);
    // Not every kernel tells of pressure.
    const told = namesOf("node_exporter").filter(
      (name) => !name.startsWith("node_pressure_") || metrics.types.has(name),
    );
    expect(differences(told, metrics)).toEqual([]);
  });
});

describe.skipIf(!jaeger)("of Jaeger with Badger", () => {
  test("each series is as written down", { timeout: 120_000 }, async () => {
    const folder = await scratchFolder();
    const [otlp, query, queryGrpc, metricsPort] = await Promise.all([1, 2, 3, 4].map(findFreePort));
    const at = (port: number | undefined) => ({ endpoint: `127.0.0.1:${port}` });
    const config = {
      service: {
        extensions: ["jaeger_storage", "jaeger_query"],
        pipelines: { traces: { receivers: ["otlp"], exporters: ["jaeger_storage_exporter"] } },
        telemetry: {
          metrics: {
            readers: [{ pull: { exporter: { prometheus: { host: "127.0.0.1", port: metricsPort } } } }],
          },
        },
      },
      extensions: {
        jaeger_storage: {
          backends: {
            main: {
              badger: {
                directories: { keys: join(folder, "keys"), values: join(folder, "values") },
                ephemeral: false,
                // It says how much is left at each maintenance.
                maintenance_interval: "1s",
                metrics_update_interval: "1s",
              },
            },
          },
        },
        jaeger_query: {
          storage: { traces: "main" },
          http: at(query),
          grpc: at(queryGrpc),
          enable_tracing: false,
        },
      },
      receivers: { otlp: { protocols: { http: at(otlp) } } },
      exporters: { jaeger_storage_exporter: { trace_storage: "main" } },
    };
    const program = await startProgram({
      name: "Jaeger",
      path: jaeger?.files.jaeger ?? "",
      // JSON is YAML.
      args: [`--config=yaml:${JSON.stringify(config)}`],
      ready: async () => (await fetch(`http://127.0.0.1:${query}/api/services`)).ok,
      timeoutMs: 60_000,
    });
    started.defer(() => program.stop());
    const now = `${Date.now()}000000`;
    const span = {
      traceId: "5b8aa5a2d2c872e8321cf37308d69df2",
      spanId: "051581bf3cb55c13",
      name: "x",
      kind: 2,
    };
    const sent = await fetch(`http://127.0.0.1:${otlp}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        resourceSpans: [
          { scopeSpans: [{ spans: [{ ...span, startTimeUnixNano: now, endTimeUnixNano: now }] }] },
        ],
      }),
    });
    expect(sent.status).toBe(200);
    expect(
      differences(namesOf("jaeger"), await scrapeAll("jaeger", `http://127.0.0.1:${metricsPort}/metrics`)),
    ).toEqual([]);
  });
});

describe.skipIf(!kubernetes || !kubeStateMetrics)("of kube-state-metrics", () => {
  test("each series is as written down", { timeout: 240_000 }, async () => {
    const plane = await startControlPlane({
      programs: kubernetes?.files as NonNullable<typeof kubernetes>["files"],
      namespace: "ectus",
    });
    started.defer(() => plane.stop());
    await plane.apply([{ apiVersion: "v1", kind: "Namespace", metadata: { name: "ectus" } }]);
    await until(async () => (await plane.kubectl("get", "serviceaccounts")).includes("default"), 60_000, 200);
    await plane.apply(objects);
    const pods = async () => (await plane.kubectl("get", "pods", "--output=name")).match(/pod\/\S+/g) ?? [];
    await until(async () => (await pods()).length === 4, 60_000, 200);
    const [first = "", second = "", third = "", fourth = ""] = (await pods()).map((name) =>
      name.slice("pod/".length),
    );
    const container = "ectus";
    await setPodStatus(plane.kubectl, { pod: first, container, state: "crash-looping", restarts: 7 });
    await setPodStatus(plane.kubectl, { pod: second, container, state: "oom-killed", restarts: 1 });
    const status = (patch: object, pod: string) =>
      plane.kubectl(
        "patch",
        "pod",
        pod,
        "--subresource=status",
        "--type=merge",
        `--patch=${JSON.stringify({ status: patch })}`,
      );
    const at = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const ended = { exitCode: 1, reason: "Error", startedAt: at, finishedAt: at };
    await status(
      {
        phase: "Failed",
        containerStatuses: [
          {
            name: container,
            image: "x",
            imageID: "",
            ready: false,
            restartCount: 0,
            state: { terminated: ended },
          },
        ],
      },
      third,
    );
    await status(
      { phase: "Pending", conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable" }] },
      fourth,
    );
    await plane.kubectl(
      "patch",
      "node",
      "n1",
      "--subresource=status",
      "--type=merge",
      `--patch=${JSON.stringify({ status: nodeStatus })}`,
    );
    const metrics = await startKubeStateMetrics({
      path: kubeStateMetrics?.files["kube-state-metrics"] ?? "",
      kubeconfig: plane.kubeconfig,
    });
    started.defer(() => metrics.stop());
    expect(
      differences(
        namesOf("kube-state-metrics"),
        await scrapeAll("kube-state-metrics", `http://${metrics.address}/metrics`),
      ),
    ).toEqual([]);
  });
});

const limits = { cpu: "1", memory: "512Mi" };
const nodeStatus = {
  capacity: { cpu: "2", memory: "4Gi", pods: "110" },
  allocatable: { cpu: "2", memory: "4Gi", pods: "110" },
  conditions: [{ type: "Ready", status: "True", reason: "KubeletReady" }],
};
const objects = [
  {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "ectus" },
    spec: {
      replicas: 4,
      selector: { matchLabels: { app: "ectus" } },
      template: {
        metadata: { labels: { app: "ectus" } },
        spec: { containers: [{ name: "ectus", image: "ectus", resources: { limits, requests: limits } }] },
      },
    },
  },
  {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: "n1" },
    spec: { unschedulable: true, taints: [{ key: "spot", value: "true", effect: "NoSchedule" }] },
  },
  {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "data" },
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
  },
  {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name: "ectus" },
    spec: { minAvailable: 1, selector: { matchLabels: { app: "ectus" } } },
  },
  {
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: { name: "ectus" },
    spec: {
      scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "ectus" },
      minReplicas: 2,
      maxReplicas: 8,
      metrics: [
        {
          type: "Resource",
          resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 70 } },
        },
      ],
    },
  },
];
