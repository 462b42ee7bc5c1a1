// kube-state-metrics: what alerts on pods and deployments are judged by, read from a real API server.
import { goBuild } from "../go-build.ts";
import { definePeer } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";

const version = "2.18.0";
const names = ["kube-state-metrics"] as const;

export const kubeStateMetrics = definePeer({
  name: "kube-state-metrics",
  version,
  about: "kube-state-metrics 2.18",
  cost: "built with Go in about two minutes, 60 MB",
  byDefault: true,
  provides: names,
  systemFolders: [],
  onPath: true,
  within: ".",
  inspect: inspectPrograms({
    names,
    versionArgs: ["version"],
    accepts: (found) => found.startsWith("2."),
  }),
  source: {
    kind: "cache",
    // Not by go install, which asks for a list of versions that not every module proxy gives.
    fill: (folder, context) =>
      goBuild(
        folder,
        {
          module: "k8s.io/kube-state-metrics/v2",
          version: `v${version}`,
          // The program is the module itself.
          packages: ["."],
          // go build leaves the version empty.
          variables: { "github.com/prometheus/common/version.Version": version },
        },
        context,
      ),
  },
});
