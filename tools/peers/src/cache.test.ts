import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cacheFolder, cacheRoot, installIntoCache } from "./cache.ts";
import type { Inspection } from "./peer.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "ectus-cache-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const quiet = { progress: () => undefined };

// A peer that is a file "data" whose content must be "good".
const peer = {
  name: "thing",
  version: "1.2",
  within: "inner",
  async inspect(folder: string): Promise<Inspection> {
    const content = await readFile(join(folder, "data"), "utf8").catch(() => undefined);
    return content === "good" ? { ok: true, version: "1.2" } : { ok: false, reason: `data is ${content}` };
  },
};

const fillWith = (content: string) => async (folder: string) => {
  await mkdir(join(folder, "inner"));
  await writeFile(join(folder, "inner", "data"), content);
};

test("the cache is where ECTUS_PEERS_CACHE says, else in XDG_CACHE_HOME, else in the home folder", () => {
  expect(cacheRoot({ ECTUS_PEERS_CACHE: "/a", XDG_CACHE_HOME: "/b" })).toBe("/a");
  expect(cacheRoot({ ECTUS_PEERS_CACHE: "", XDG_CACHE_HOME: "/b" })).toBe("/b/ectus/peers");
  expect(cacheRoot({})).toMatch(/\.cache\/ectus\/peers$/);
});

test("a peer that was got is in its place and may be entered by other users", async () => {
  expect(await installIntoCache(root, peer, fillWith("good"), quiet)).toBe("1.2");
  const place = cacheFolder(root, peer);
  expect(await readFile(join(place, "inner", "data"), "utf8")).toBe("good");
  expect((await stat(place)).mode & 0o777).toBe(0o755);
});

test("what is not accepted never gets to its place, and nothing is left of it", async () => {
  await expect(installIntoCache(root, peer, fillWith("bad"), quiet)).rejects.toThrow(
    "What was got for the peer thing is not accepted: data is bad.",
  );
  expect(await readdir(root)).toEqual(["thing-1.2.lock"]);
});

test("while a peer is being got, its place stays empty", async () => {
  await installIntoCache(
    root,
    peer,
    async (folder) => {
      await fillWith("good")(folder);
      expect(await readdir(root)).not.toContain("thing-1.2");
    },
    quiet,
  );
  expect(await readdir(root)).toContain("thing-1.2");
});

test("a broken peer in the cache is replaced", async () => {
  await mkdir(join(root, "thing-1.2", "inner"), { recursive: true });
  await writeFile(join(root, "thing-1.2", "inner", "data"), "bad");
  await writeFile(join(root, "thing-1.2", "old"), "");
  await installIntoCache(root, peer, fillWith("good"), quiet);
  expect(await readdir(join(root, "thing-1.2"))).toEqual(["inner"]);
});

test("what a killed run left is removed, other peers' folders are not", async () => {
  await mkdir(join(root, "thing-1.2.new-dead"));
  await mkdir(join(root, "thing-1.20.new-other"));
  await installIntoCache(root, peer, fillWith("good"), quiet);
  expect((await readdir(root)).sort()).toEqual(["thing-1.2", "thing-1.2.lock", "thing-1.20.new-other"]);
});

test("of several runs at once one gets the peer and the others take what it got", async () => {
  let fills = 0;
  const fill = async (folder: string) => {
    fills++;
    await fillWith("good")(folder);
  };
  const versions = await Promise.all([1, 2, 3].map(() => installIntoCache(root, peer, fill, quiet)));
  expect(versions).toEqual(["1.2", "1.2", "1.2"]);
  expect(fills).toBe(1);
});
