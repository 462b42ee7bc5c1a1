import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { getPeer, mapWithin } from "./get.ts";
import { definePeer, type Source } from "./peer.ts";
import { inspectPrograms } from "./programs.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-get-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const gizmo = (source: Source, systemFolders: readonly string[] = []) =>
  definePeer({
    name: "gizmo",
    version: "2.0",
    about: "a peer of this test",
    cost: "nothing",
    byDefault: false,
    provides: ["gizmo"],
    systemFolders,
    onPath: false,
    within: ".",
    inspect: inspectPrograms({ names: ["gizmo"], accepts: (version) => version === "2.0" }),
    source,
  });

async function writeGizmo(place: string): Promise<void> {
  await writeFile(join(place, "gizmo"), "#!/bin/sh\necho gizmo 2.0\n");
  await chmod(join(place, "gizmo"), 0o755);
}

test("a missing peer is got into the cache, and found there the next time", async () => {
  const lines: string[] = [];
  const peer = gizmo({
    kind: "cache",
    async fill(place, { progress }) {
      progress("building");
      await writeGizmo(place);
    },
  });
  const get = () => getPeer(peer, { ECTUS_PEERS_CACHE: folder }, (line) => lines.push(line));
  const first = await get();
  expect(first).toMatchObject({
    state: "fetched",
    paths: { folder: join(folder, "gizmo-2.0"), origin: "cache" },
  });
  expect(lines).toContain("peers: gizmo: building\n");
  expect(await get()).toMatchObject({ state: "found" });
});

test("a system package that does not bring the program is a failure, not a success", async () => {
  const peer = gizmo({ kind: "system", install: async () => undefined }, [join(folder, "nowhere")]);
  const outcome = await getPeer(peer, { ECTUS_PEERS_CACHE: folder }, () => undefined);
  expect(outcome).toMatchObject({ state: "failed", error: expect.stringContaining("nowhere") });
});

test("a system package is found in its folder afterwards", async () => {
  const peer = gizmo({ kind: "system", install: () => writeGizmo(folder) }, [folder]);
  const outcome = await getPeer(peer, { ECTUS_PEERS_CACHE: folder }, () => undefined);
  expect(outcome).toMatchObject({ state: "fetched", paths: { origin: "system" } });
});

test("a source that fails is reported with its reason", async () => {
  const fill = async () => {
    throw new Error("no network");
  };
  const lines: string[] = [];
  const outcome = await getPeer(gizmo({ kind: "cache", fill }), { ECTUS_PEERS_CACHE: folder }, (line) =>
    lines.push(line),
  );
  expect(outcome).toMatchObject({ state: "failed", error: "no network" });
  expect(lines.at(-1)).toMatch(/FAILED after .* no network/);
});

test("at most so many items are under way at once, and results keep their order", async () => {
  let running = 0;
  let most = 0;
  const results = await mapWithin(2, [1, 2, 3, 4, 5], async (item) => {
    running++;
    most = Math.max(most, running);
    await new Promise(setImmediate);
    running--;
    return item * 10;
  });
  expect(results).toEqual([10, 20, 30, 40, 50]);
  expect(most).toBe(2);
});
