// What tests and benches ask: where is this peer? Looks into the system's folders, PATH and the cache; gets nothing.
import { delimiter, join } from "node:path";
import { EctusError } from "@ectus/core";
import { cacheFolder, cacheRoot } from "./cache.ts";
import type { Peer, PeerPaths } from "./peer.ts";
import { type PathsOf, type PeerName, peers } from "./registry.ts";

/** The peer's paths, or undefined when this machine does not have it in an accepted version. */
export async function findPeer<Name extends PeerName>(
  name: Name,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<PathsOf<Name> | undefined> {
  return (await locate(peers[name], environment)) as PathsOf<Name> | undefined;
}

/**
 * The peer's paths.
 *
 * @throws EctusError `peer_missing` that names the peer and the command that gets it
 */
export async function requirePeer<Name extends PeerName>(
  name: Name,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<PathsOf<Name>> {
  const found = await findPeer(name, environment);
  if (found === undefined) throw new EctusError("peer_missing", { reason: missingReason(peers[name]) });
  return found;
}

/**
 * The peer's paths for a test that is skipped without it:
 * `const clients = await peer("postgresql-clients"); describe.skipIf(!clients)("…", …)`.
 * A missing peer is said on standard error; with CI=true it is an error, so that nothing is skipped unseen there.
 *
 * @throws EctusError `peer_missing` with CI=true
 */
export async function peer<Name extends PeerName>(
  name: Name,
  environment: NodeJS.ProcessEnv = process.env,
  warn: (line: string) => void = (line) => process.stderr.write(line),
): Promise<PathsOf<Name> | undefined> {
  const found = await findPeer(name, environment);
  if (found !== undefined) return found;
  const reason = missingReason(peers[name]);
  if (environment.CI === "true") throw new EctusError("peer_missing", { reason });
  warn(`\nSKIPPED: ${reason}\n`);
  return undefined;
}

/** Where a described peer is: the first folder that its `inspect` accepts. */
export async function locate<File extends string>(
  described: Peer<File>,
  environment: NodeJS.ProcessEnv,
): Promise<PeerPaths<File> | undefined> {
  for (const { origin, folder } of candidates(described, environment)) {
    const inspection = await described.inspect(folder);
    if (!inspection.ok) continue;
    const files = Object.fromEntries(described.provides.map((file) => [file, join(folder, file)]));
    const { name } = described;
    return { name, version: inspection.version, folder, files: files as Record<File, string>, origin };
  }
  return undefined;
}

// System folders come before PATH: Debian's PATH holds wrappers that choose a version when they are run.
function candidates(
  described: Peer,
  environment: NodeJS.ProcessEnv,
): readonly { readonly origin: PeerPaths["origin"]; readonly folder: string }[] {
  const onPath = described.onPath
    ? (environment.PATH ?? "").split(delimiter).filter((folder) => folder !== "")
    : [];
  return [
    ...described.systemFolders.map((folder) => ({ origin: "system" as const, folder })),
    ...onPath.map((folder) => ({ origin: "path" as const, folder })),
    {
      origin: "cache" as const,
      folder: join(cacheFolder(cacheRoot(environment), described), described.within),
    },
  ];
}

function missingReason({ name, about }: Peer): string {
  return `The peer ${name} (${about}) is missing. Get it with: npm run peers ${name}`;
}
