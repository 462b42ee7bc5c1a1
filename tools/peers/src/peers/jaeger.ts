// Jaeger 2: traces are sent to it by OTLP and read back by its query API.
import { goBuild } from "../go-build.ts";
import { definePeer } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";

const version = "2.13.0";
const names = ["jaeger"] as const;

export const jaeger = definePeer({
  name: "jaeger",
  version,
  about: "Jaeger 2.13",
  cost: "built with Go in about five minutes, 100 MB",
  byDefault: true,
  provides: names,
  systemFolders: [],
  onPath: true,
  within: ".",
  inspect: inspectPrograms({
    names,
    versionArgs: ["version"],
    // The first Jaeger is another program with another configuration.
    accepts: (found) => found.startsWith("2."),
  }),
  source: {
    kind: "cache",
    fill: (folder, context) =>
      goBuild(
        folder,
        {
          module: "github.com/jaegertracing/jaeger",
          // The Go module of 2.13.0.
          version: "v1.76.0",
          packages: ["cmd/jaeger"],
          variables: { "github.com/jaegertracing/jaeger/internal/version.latestVersion": `v${version}` },
        },
        context,
      ),
  },
});
