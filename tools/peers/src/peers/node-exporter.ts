// node_exporter: what alerts on disks, memory and processors of a node are judged by.
import { goInstall } from "../go-install.ts";
import { definePeer } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";

const version = "1.12.1";
const names = ["node_exporter"] as const;

export const nodeExporter = definePeer({
  name: "node-exporter",
  version,
  about: "node_exporter 1.12",
  cost: "built with Go in about a minute, 16 MB",
  byDefault: true,
  provides: names,
  systemFolders: [],
  onPath: true,
  within: ".",
  inspect: inspectPrograms({ names, accepts: (found) => found.startsWith("1.") }),
  source: {
    kind: "cache",
    fill: (folder, context) =>
      goInstall(
        folder,
        {
          module: "github.com/prometheus/node_exporter",
          version: `v${version}`,
          // The program is the module itself.
          packages: ["."],
          // go install leaves the version empty.
          variables: { "github.com/prometheus/common/version.Version": version },
        },
        context,
      ),
  },
});
