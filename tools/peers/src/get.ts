// Gets peers that are missing, two at a time at most, and reports each.
import { EctusError, errorMessage } from "@ectus/core";
import { cacheRoot, installIntoCache } from "./cache.ts";
import { locate } from "./find.ts";
import type { Peer, PeerPaths } from "./peer.ts";

/** What became of one peer. */
export type PeerOutcome =
  | { readonly state: "found" | "fetched"; readonly paths: PeerPaths; readonly seconds: number }
  | { readonly state: "missing" }
  | { readonly state: "failed"; readonly error: string; readonly seconds: number };

// Builds take minutes and print nothing here; silence would look like a hang.
const heartbeatMs = 15_000;

/** Finds a peer or gets it; never throws. */
export async function getPeer(
  peer: Peer,
  environment: NodeJS.ProcessEnv,
  show: (line: string) => void,
): Promise<PeerOutcome> {
  const started = performance.now();
  const seconds = () => Math.round((performance.now() - started) / 10) / 100;
  const progress = (line: string) => show(`peers: ${peer.name}: ${line}\n`);
  let heartbeat: NodeJS.Timeout | undefined;
  try {
    const present = await locate(peer, environment);
    if (present !== undefined) {
      progress(`found ${present.version} in ${present.folder}`);
      return { state: "found", paths: present, seconds: seconds() };
    }
    progress(`getting ${peer.version} (${peer.cost})`);
    heartbeat = setInterval(() => progress(`still at it after ${Math.round(seconds())} s`), heartbeatMs);
    if (peer.source.kind === "cache") {
      await installIntoCache(cacheRoot(environment), peer, peer.source.fill, { progress });
    } else {
      await peer.source.install({ progress });
    }
    const paths = await locate(peer, environment);
    if (paths === undefined) {
      throw new EctusError("peer_missing", {
        reason: `The peer ${peer.name} was installed but is in none of: ${peer.systemFolders.join(", ")}.`,
      });
    }
    progress(`ready in ${seconds()} s, ${paths.version} in ${paths.folder}`);
    return { state: "fetched", paths, seconds: seconds() };
  } catch (error) {
    progress(`FAILED after ${seconds()} s: ${errorMessage(error)}`);
    return { state: "failed", error: errorMessage(error), seconds: seconds() };
  } finally {
    clearInterval(heartbeat);
  }
}

/** Maps with at most `width` calls under way; results are in the order of `items`. */
export async function mapWithin<T, R>(
  width: number,
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}
