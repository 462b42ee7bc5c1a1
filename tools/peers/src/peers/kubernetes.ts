// A Kubernetes control plane without nodes: etcd, kube-apiserver, kube-controller-manager, and kubectl. Manifests are
// applied to it, and runbooks' commands run against it; nothing runs its pods.
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { goBuild } from "../go-build.ts";
import { definePeer, type GetContext, type Inspection } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";

const version = "1.37.2";
/** The modules that Kubernetes is made of have its version with a 0 in front. */
const partsVersion = "v0.37.2";
const etcdVersion = "3.7.3";

export const kubernetes = definePeer({
  name: "kubernetes",
  version,
  about: "a Kubernetes 1.37 control plane: etcd, kube-apiserver, kube-controller-manager, kubectl",
  cost: "built with Go in about five minutes, 300 MB",
  byDefault: true,
  provides: ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"],
  systemFolders: [],
  onPath: true,
  within: ".",
  inspect,
  source: { kind: "cache", fill },
});

const inspections = [
  inspectPrograms({ names: ["kube-apiserver", "kube-controller-manager"], accepts: isRecent }),
  inspectPrograms({ names: ["kubectl"], versionArgs: ["version", "--client"], accepts: isRecent }),
  inspectPrograms({ names: ["etcd"], accepts: (found) => found.startsWith("3.") }),
] as const;

// Each tells its version in its own way. The peer's is the API server's.
async function inspect(folder: string): Promise<Inspection> {
  const [server, ...others] = await Promise.all(inspections.map((ask) => ask(folder)));
  return others.find(({ ok }) => !ok) ?? server ?? { ok: false, reason: "nothing was asked" };
}

// Older ones lack what our manifests may use.
function isRecent(found: string): boolean {
  const [major = 0, minor = 0] = found.split(".").map(Number);
  return major === 1 && minor >= 33;
}

async function fill(folder: string, context: GetContext): Promise<void> {
  await goBuild(
    folder,
    {
      module: "go.etcd.io/etcd/server/v3",
      version: `v${etcdVersion}`,
      packages: ["."],
      adapt: (source) => changeModule(source, withoutLocalReplaces),
    },
    context,
  );
  // Go calls a program as the last part of its module.
  await rename(join(folder, "server"), join(folder, "etcd"));
  await goBuild(
    folder,
    {
      module: "k8s.io/kubernetes",
      version: `v${version}`,
      packages: ["cmd/kube-apiserver", "cmd/kube-controller-manager", "cmd/kubectl"],
      // Without it they report a version that other programs cannot read.
      variables: { "k8s.io/component-base/version.gitVersion": `v${version}` },
      adapt: usePublishedParts,
    },
    context,
  );
}

/** etcd's go.mod replaces its own libraries by folders of its repository, which are no part of the module. */
export function withoutLocalReplaces(goMod: string): string {
  return goMod.replace(/^.*=> \.\.\/.*\n/gm, "");
}

/**
 * Kubernetes' go.mod has its parts in folders, as version v0.0.0. They are published as modules too; used from there,
 * what was compiled of them stays in Go's cache, wherever the copy lies.
 */
export function withPublishedParts(goMod: string, publishedVersion: string): string {
  return (
    goMod
      .replace(/(k8s\.io\/\S+) => \.\/staging\/src\/k8s\.io\/\S+/g, `$1 => $1 ${publishedVersion}`)
      // Only where it is the whole version: those of other modules begin with it.
      .replace(/(k8s\.io\/\S+) v0\.0\.0(?![-\w])/g, `$1 ${publishedVersion}`)
  );
}

async function usePublishedParts(source: string): Promise<void> {
  for (const name of ["vendor", "staging", "go.work", "go.work.sum"])
    await rm(join(source, name), { recursive: true, force: true });
  await changeModule(source, (goMod) => withPublishedParts(goMod, partsVersion));
}

async function changeModule(source: string, change: (goMod: string) => string): Promise<void> {
  const file = join(source, "go.mod");
  await writeFile(file, change(await readFile(file, "utf8")));
}
