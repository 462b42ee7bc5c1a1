// Alertmanager's manifests, taken by a real API server into a namespace that admits only restricted pods, and how
// Prometheus finds pods there.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { type ControlPlane, startControlPlane, startPrometheus } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { fencedBlocks } from "../docs/fenced-blocks.ts";
import { until } from "../postgres/until.ts";
import { configFolder, pagerDutyConfigFile } from "./alertmanager-rig.ts";

const [kubernetes, alertmanager, prometheus] = await Promise.all([
  peer("kubernetes"),
  peer("alertmanager"),
  peer("prometheus"),
]);
const manifests = join(configFolder, "..");

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly template?: {
      readonly spec: {
        readonly containers: readonly {
          readonly args: readonly string[];
          readonly volumeMounts: readonly { readonly mountPath: string }[];
        }[];
      };
    };
  };
}

const guide = await readFile(new URL("../../docs/operations/alertmanager.md", import.meta.url), "utf8");
const [shown = ""] = fencedBlocks(guide)
  .filter(({ info }) => info === "yaml prometheus")
  .map(({ code }) => code);

describe.skipIf(!kubernetes || !alertmanager || !prometheus)("k8s/prometheus", () => {
  let plane: ControlPlane;
  let folder: string;
  beforeAll(async () => {
    if (kubernetes === undefined) return;
    [plane, folder] = await Promise.all([
      startControlPlane({ programs: kubernetes.files, namespace: "ectus" }),
      mkdtemp(join(tmpdir(), "ectus-overlay-")),
    ]);
    await plane.kubectl("create", "namespace", "ectus");
    await plane.kubectl("label", "namespace", "ectus", "pod-security.kubernetes.io/enforce=restricted");
  }, 180_000);
  afterAll(async () => {
    await plane?.stop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  const build = async (path: string): Promise<readonly Manifest[]> =>
    parseAllDocuments(await plane.kubectl("kustomize", path)).map((document) => document.toJS() as Manifest);
  const configOf = (all: readonly Manifest[]): readonly string[] =>
    all
      .filter(({ metadata }) => metadata.name.startsWith("alertmanager-config-"))
      .map(({ data }) => data?.["config.yaml"] ?? "");

  test("is taken by the API server, and its restricted pods are admitted", async () => {
    const answer = await plane.kubectl("apply", "-k", manifests, "--dry-run=server");
    expect(answer).toContain("statefulset.apps/alertmanager created (server dry run)");
    await plane.kubectl("apply", "-k", manifests);
    await until(
      async () => (await plane.kubectl("get", "pods", "-o", "name")).trim().split("\n").length === 2,
      60_000,
      200,
    );
    expect((await plane.kubectl("get", "pods", "-o", "name")).trim().split("\n").sort()).toEqual([
      "pod/alertmanager-0",
      "pod/alertmanager-1",
    ]);
  }, 120_000);

  test("has another configuration, and only that, with the component for PagerDuty", async () => {
    const base = relative(folder, manifests);
    const overlay = {
      apiVersion: "kustomize.config.k8s.io/v1beta1",
      kind: "Kustomization",
      resources: [base],
      components: [join(base, "alertmanager/pagerduty")],
    };
    await writeFile(join(folder, "kustomization.yaml"), JSON.stringify(overlay));
    const [plain, withPagerDuty] = await Promise.all([build(manifests), build(folder)]);
    expect(configOf(plain)).toEqual([await readFile(join(configFolder, "config.yaml"), "utf8")]);
    expect(configOf(withPagerDuty)).toEqual([await readFile(pagerDutyConfigFile, "utf8")]);
    expect(withPagerDuty).toHaveLength(plain.length);
    await plane.kubectl("apply", "-k", folder, "--dry-run=server");
  }, 120_000);

  test("mounts every file that the configuration names, and starts Alertmanager with flags that it has", async () => {
    const all = await build(manifests);
    const spec = all.find(({ kind }) => kind === "StatefulSet")?.spec?.template?.spec;
    const [container] = spec?.containers ?? [];
    const mounts = container?.volumeMounts.map(({ mountPath }) => `${mountPath}/`) ?? [];
    const config = await readFile(pagerDutyConfigFile, "utf8");
    const paths = [...config.matchAll(/\/etc\/alertmanager\/\S+/g)].map(([path]) => path);
    expect(paths.length).toBeGreaterThan(5);
    for (const path of paths) expect(mounts.some((mount) => path.startsWith(mount))).toBe(true);

    const { stdout } = await promisify(execFile)(alertmanager?.files.alertmanager ?? "", ["--help"]);
    const flags = container?.args.map((argument) => argument.split("=")[0] ?? "") ?? [];
    expect(flags.length).toBeGreaterThan(5);
    for (const flag of flags) expect(stdout).toMatch(new RegExp(`^\\s+${flag}[= ]`, "m"));

    // Else it tells again what it has forgotten that it told.
    const hours = (text: string): number => Number.parseInt(text, 10) * (text.endsWith("d") ? 24 : 1);
    const repeats = [...config.matchAll(/repeat_interval: (\d+[hd])/g)].map(([, each = ""]) => hours(each));
    const retention = container?.args.find((flag) => flag.startsWith("--data.retention="))?.split("=")[1];
    expect(repeats.length).toBeGreaterThan(3);
    expect(hours(retention ?? "")).toBeGreaterThan(Math.max(...repeats));
  });

  test("its guide has Prometheus give the pods of Ectus-R the labels by which alerts silence each other", async () => {
    await plane.apply([machine, pod("ectus-1", "ectus"), pod("other-1", "other")]);
    // What the kubelet of its node would say.
    await plane.kubectl("patch", "pod", "ectus-1", "--subresource=status", "--type=merge", "--patch", ready);
    await plane.kubectl("patch", "pod", "other-1", "--subresource=status", "--type=merge", "--patch", ready);
    const config = parse(shown) as Config;
    for (const { kubernetes_sd_configs: each } of config.scrape_configs)
      for (const discovery of each) discovery.kubeconfig_file = plane.kubeconfig;
    const server = await startPrometheus({
      path: prometheus?.files.prometheus ?? "",
      folder: join(folder, "prometheus"),
      config: { ...config },
      ruleFiles: {},
    });
    try {
      await until(async () => (await server.targets()).length > 0, 60_000, 50);
      expect((await server.targets()).map(({ labels }) => labels)).toEqual([
        {
          ...{ job: "ectus", instance: "127.0.0.9:9090", node: "machine-1" },
          ...{ namespace: "ectus", pod: "ectus-1", container: "ectus" },
        },
      ]);
    } finally {
      await server.stop();
    }
  }, 120_000);
});

interface Config {
  readonly scrape_configs: readonly { readonly kubernetes_sd_configs: { kubeconfig_file?: string }[] }[];
}

const ready = JSON.stringify({
  status: { phase: "Running", podIP: "127.0.0.9", podIPs: [{ ip: "127.0.0.9" }] },
});

const machine = { apiVersion: "v1", kind: "Node", metadata: { name: "machine-1" } };

const pod = (name: string, app: string): object => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, labels: { "app.kubernetes.io/name": app } },
  spec: {
    nodeName: "machine-1",
    securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    containers: [
      {
        name: "ectus",
        image: "ectus",
        ports: [{ containerPort: 8080 }, { containerPort: 9090 }],
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
      },
    ],
  },
});
