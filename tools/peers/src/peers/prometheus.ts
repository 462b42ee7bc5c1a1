// Prometheus and promtool: what the exporter serves is scraped, checked and queried with them.
import { goInstall } from "../go-install.ts";
import { definePeer } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";

const version = "3.16.0";
const names = ["prometheus", "promtool"] as const;

export const prometheus = definePeer({
  name: "prometheus",
  version,
  about: "Prometheus and promtool 3.16",
  cost: "built with Go in about six minutes, 180 MB",
  byDefault: true,
  provides: names,
  systemFolders: [],
  onPath: true,
  within: ".",
  // Earlier ones lack settings that tests use, such as scrape_native_histograms.
  inspect: inspectPrograms({ names, accepts: (found) => isAtLeast(found, 3, 9) }),
  source: {
    kind: "cache",
    fill: (folder, context) =>
      goInstall(
        folder,
        {
          module: "github.com/prometheus/prometheus",
          // The Go module of 3.x.y is v0.3xx.y.
          version: "v0.316.0",
          packages: ["cmd/promtool", "cmd/prometheus"],
          // go install leaves the version empty.
          variables: { "github.com/prometheus/common/version.Version": version },
        },
        context,
      ),
  },
});

function isAtLeast(found: string, major: number, minor: number): boolean {
  const [foundMajor = 0, foundMinor = 0] = found.split(".").map(Number);
  return foundMajor > major || (foundMajor === major && foundMinor >= minor);
}
