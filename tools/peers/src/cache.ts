// The cache of peers outside the checkout. A peer appears in it whole and verified or not at all, and two runs that
// want the same one do not get in each other's way.
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { EctusError } from "@ectus/core";
import { withLock } from "./lock.ts";
import type { GetContext, Inspection, Peer } from "./peer.ts";

type CachedPeer = Pick<Peer, "name" | "version" | "within" | "inspect">;

/** The folder of all peers: ECTUS_PEERS_CACHE, else ectus/peers in XDG_CACHE_HOME or ~/.cache. */
export function cacheRoot(environment: NodeJS.ProcessEnv): string {
  const { ECTUS_PEERS_CACHE: own, XDG_CACHE_HOME: xdg } = environment;
  if (own !== undefined && own !== "") return own;
  return join(xdg !== undefined && xdg !== "" ? xdg : join(homedir(), ".cache"), "ectus", "peers");
}

/** The folder of one peer. */
export function cacheFolder(root: string, peer: Pick<Peer, "name" | "version">): string {
  return join(root, `${peer.name}-${peer.version}`);
}

/**
 * Puts a peer into the cache: fills a temporary folder beside its place, verifies it, renames it. Waits while another
 * process does the same, and then takes what that one got.
 *
 * @returns the version found in the filled folder
 * @throws EctusError `peer_missing` when what was got is not accepted
 */
export async function installIntoCache(
  root: string,
  peer: CachedPeer,
  fill: (folder: string, context: GetContext) => Promise<void>,
  context: GetContext,
): Promise<string> {
  const place = cacheFolder(root, peer);
  await mkdir(root, { recursive: true });
  return withLock(
    `${place}.lock`,
    { onWait: () => context.progress("another run gets it, waiting") },
    async () => {
      const already = await peer.inspect(join(place, peer.within));
      if (already.ok) return already.version;
      await removeLeftovers(root, peer);
      const temporary = await mkdtemp(`${place}.new-`);
      try {
        await fill(temporary, context);
        const version = accepted(peer, await peer.inspect(join(temporary, peer.within)));
        // mkdtemp closes it to other users, but a server that refuses root runs these programs as somebody else.
        await chmod(temporary, 0o755);
        await rm(place, { recursive: true, force: true });
        await rename(temporary, place);
        return version;
      } catch (error) {
        await rm(temporary, { recursive: true, force: true });
        throw error;
      }
    },
  );
}

function accepted(peer: CachedPeer, inspection: Inspection): string {
  if (inspection.ok) return inspection.version;
  throw new EctusError("peer_missing", {
    reason: `What was got for the peer ${peer.name} is not accepted: ${inspection.reason}.`,
  });
}

// A run that was killed leaves its temporary folder. The lock is held, so no other run uses one now.
async function removeLeftovers(root: string, peer: CachedPeer): Promise<void> {
  const prefix = `${peer.name}-${peer.version}.new-`;
  for (const entry of await readdir(root)) {
    if (entry.startsWith(prefix)) await rm(join(root, entry), { recursive: true, force: true });
  }
}
