// Versity's S3 gateway, a server of the S3 protocol over a folder (Apache-2.0): the storage is tested against it.
import { goInstall } from "../go-install.ts";
import { definePeer } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";

const version = "1.8.0";
const names = ["versitygw"] as const;

export const versitygw = definePeer({
  name: "versitygw",
  version,
  about: "Versity's S3 gateway 1.8",
  cost: "built with Go in about a minute, 50 MB",
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
          module: "github.com/versity/versitygw",
          version: `v${version}`,
          packages: ["cmd/versitygw"],
          // go install leaves the version as "git".
          variables: { "main.Version": version },
        },
        context,
      ),
  },
});
