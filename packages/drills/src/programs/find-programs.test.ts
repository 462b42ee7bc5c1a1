import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findPeer } from "@ectus/peers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findPrograms } from "./find-programs.ts";

let folder: string;
let environment: { readonly PATH: string; readonly XDG_CACHE_HOME: string };
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-find-"));
  environment = {
    PATH: ["a", "b"].map((name) => join(folder, name)).join(":"),
    XDG_CACHE_HOME: join(folder, "cache"),
  };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function program(place: string, prints: string): Promise<string> {
  const path = join(folder, place);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${prints}\n`);
  await chmod(path, 0o755);
  return path;
}

test("programs on PATH come before those in the cache, in the order of PATH", async () => {
  const prometheus = await program("a/prometheus", "echo 'prometheus, version 3.10.0'");
  await program("b/prometheus", "echo 'prometheus, version 3.16.0'");
  await program("cache/ectus/peers/prometheus-3.16.0/prometheus", "echo 'prometheus, version 3.16.0'");
  const amtool = await program(
    "cache/ectus/peers/alertmanager-0.34.2/amtool",
    "echo 'amtool, version 0.34.2' >&2",
  );
  expect(await findPrograms(["prometheus", "amtool"], environment)).toEqual({ prometheus, amtool });
});

test("a version that is too old is passed over", async () => {
  await program("a/prometheus", "echo 'prometheus, version 2.42.0'");
  const good = await program("b/prometheus", "echo 'prometheus, version 3.9.1'");
  expect(await findPrograms(["prometheus"], environment)).toEqual({ prometheus: good });
});

test("all that are missing are told at once, with why and how to get them", async () => {
  const old = await program("a/alertmanager", "echo 'alertmanager, version 0.31.0'");
  const broken = await program("b/kubectl", "echo 'bad CPU type' >&2; exit 126");
  await program("a/promtool", "echo 'promtool, version 3.16.0'");
  const finding = findPrograms(["alertmanager", "promtool", "kubectl", "etcd"], environment);
  await expect(finding).rejects.toMatchObject({ code: "program_missing" });
  const { message } = (await finding.catch((error: Error) => error as Error)) as Error;
  expect(message.split("\n")).toEqual([
    "Programs that this needs were not found:",
    `  alertmanager 0.34 or later (${old} has version 0.31.0)`,
    `  kubectl 1.33 or later (${broken} does not run: Command failed: ${broken} version --client`,
    "bad CPU type)",
    "  etcd 3.5 or later",
    "Get them with: npm run peers alertmanager kubernetes. Or install them where PATH finds them.",
  ]);
});

test("ECTUS_PEERS_CACHE comes before XDG_CACHE_HOME", async () => {
  const etcd = await program("own/kubernetes-1.37.2/etcd", "echo 'etcd Version: 3.7.3'");
  expect(await findPrograms(["etcd"], { ...environment, ECTUS_PEERS_CACHE: join(folder, "own") })).toEqual({
    etcd,
  });
});

test.each([
  ["prometheus", ["prometheus", "promtool"]],
  ["alertmanager", ["alertmanager", "amtool"]],
  ["node-exporter", ["node_exporter"]],
  ["kubernetes", ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"]],
  ["kube-state-metrics", ["kube-state-metrics"]],
  ["jaeger", ["jaeger"]],
] as const)("the cache of the peer %s is found as it is made", async (name, programs) => {
  const { PATH: _, ...withoutPath } = process.env;
  const peer = await findPeer(name, withoutPath);
  if (peer === undefined && process.env.CI !== "true") return;
  expect(await findPrograms(programs, withoutPath)).toEqual(peer?.files);
});
