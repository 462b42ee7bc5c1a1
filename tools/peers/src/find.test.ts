import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findPeer, locate, peer, requirePeer } from "./find.ts";
import { definePeer } from "./peer.ts";
import { inspectPrograms } from "./programs.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-find-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const gizmo = (systemFolders: readonly string[] = []) =>
  definePeer({
    name: "gizmo",
    version: "2.0",
    about: "a peer of this test",
    cost: "nothing",
    byDefault: false,
    provides: ["gizmo"],
    systemFolders,
    onPath: true,
    within: "bin",
    inspect: inspectPrograms({ names: ["gizmo"], accepts: (version) => version.startsWith("2.") }),
    source: { kind: "cache", fill: async () => undefined },
  });

async function gizmoIn(place: string, version: string): Promise<string> {
  await mkdir(place, { recursive: true });
  await writeFile(join(place, "gizmo"), `#!/bin/sh\necho gizmo ${version}\n`);
  await chmod(join(place, "gizmo"), 0o755);
  return place;
}

test("a folder of PATH with the right version is taken, one with another version is passed over", async () => {
  const old = await gizmoIn(join(folder, "old"), "1.9");
  const right = await gizmoIn(join(folder, "right"), "2.1");
  const found = await locate(gizmo(), { PATH: `${old}:${right}`, ECTUS_PEERS_CACHE: folder });
  expect(found).toEqual({
    name: "gizmo",
    version: "2.1",
    folder: right,
    files: { gizmo: join(right, "gizmo") },
    origin: "path",
  });
});

test("a system folder comes before PATH, and PATH before the cache", async () => {
  const system = await gizmoIn(join(folder, "system"), "2.1");
  const onPath = await gizmoIn(join(folder, "path"), "2.2");
  const cached = await gizmoIn(join(folder, "gizmo-2.0", "bin"), "2.3");
  const environment = { PATH: onPath, ECTUS_PEERS_CACHE: folder };
  expect(await locate(gizmo([system]), environment)).toMatchObject({ origin: "system", folder: system });
  expect(await locate(gizmo(), environment)).toMatchObject({ origin: "path", folder: onPath });
  expect(await locate(gizmo(), { ...environment, PATH: "" })).toMatchObject({
    origin: "cache",
    folder: cached,
  });
});

test("a missing peer is not found, and requiring it names the command that gets it", async () => {
  const environment = { PATH: folder, ECTUS_PEERS_CACHE: folder };
  expect(await findPeer("model", environment)).toBeUndefined();
  await expect(requirePeer("model", environment)).rejects.toMatchObject({
    code: "peer_missing",
    message: expect.stringContaining("npm run peers model"),
  });
});

test("a test that lacks its peer is told so loudly and can skip", async () => {
  const lines: string[] = [];
  const environment = { PATH: folder, ECTUS_PEERS_CACHE: folder, CI: "" };
  expect(await peer("model", environment, (line) => lines.push(line))).toBeUndefined();
  expect(lines.join("")).toMatch(/SKIPPED: The peer model .* is missing\. Get it with: npm run peers model/);
});

test("with CI=true a missing peer is an error", async () => {
  const environment = { PATH: folder, ECTUS_PEERS_CACHE: folder, CI: "true" };
  await expect(peer("model", environment, () => undefined)).rejects.toMatchObject({ code: "peer_missing" });
});
