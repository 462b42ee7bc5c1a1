// Alertmanager's manifests, taken by a real API server into a namespace that admits only restricted pods.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { type ControlPlane, startControlPlane } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { until } from "../postgres/until.ts";
import { configFolder, pagerDutyConfigFile } from "./alertmanager-rig.ts";

const [kubernetes, alertmanager] = await Promise.all([peer("kubernetes"), peer("alertmanager")]);
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

describe.skipIf(!kubernetes || !alertmanager)("k8s/prometheus", () => {
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
    await plane.stop();
    await rm(folder, { recursive: true, force: true });
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
  });
});
