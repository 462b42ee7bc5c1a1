// PostgreSQL 15, server and clients: the oldest version that is supported. It comes from the system's packages.
import { access } from "node:fs/promises";
import { EctusError } from "@ectus/core";
import { runCommand } from "../command.ts";
import { definePeer } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";

const names = ["postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_restore"] as const;
const installTimeoutMs = 10 * 60_000;

export const postgresql15 = definePeer({
  name: "postgresql-15",
  version: "15",
  about: "PostgreSQL 15 server and clients, the oldest version that is supported",
  cost: "a system package, about 60 MB, installed as root",
  byDefault: true,
  provides: names,
  systemFolders: ["/usr/lib/postgresql/15/bin", "/usr/pgsql-15/bin", "/opt/homebrew/opt/postgresql@15/bin"],
  onPath: true,
  within: "bin",
  inspect: inspectPrograms({ names, accepts: (version) => version.startsWith("15.") }),
  source: {
    kind: "system",
    async install({ progress }) {
      if (process.getuid?.() !== 0 || !(await exists("/usr/bin/apt-get"))) {
        throw new EctusError("peer_missing", {
          reason:
            "PostgreSQL 15 is installed by this program only as root on Debian. Install it with your package manager (Debian: sudo apt-get install postgresql-15; macOS: brew install postgresql@15).",
        });
      }
      // RUNLEVEL=1 keeps the package from starting a server on port 5432, which nobody asked for.
      const options = {
        timeoutMs: installTimeoutMs,
        env: { DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1", LC_ALL: "C" },
      };
      progress("apt-get update");
      await runCommand("apt-get", ["update", "-q"], options);
      progress("apt-get install postgresql-15");
      await runCommand(
        "apt-get",
        ["install", "-q", "-y", "--no-install-recommends", "postgresql-15"],
        options,
      );
    },
  },
});

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
