import { access, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ClusterPaths, clusterExists, createCluster, prepareFolder } from "./embedded-cluster.ts";
import { asSelf } from "./embedded-user.ts";

let base: string;
let paths: ClusterPaths;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "ectus-cluster-"));
  paths = await prepareFolder(join(base, "deep", "postgres"));
});
afterEach(() => rm(base, { recursive: true, force: true }));

/** Runs createCluster with a program in initdb's place. */
async function create(script: string, durable = true): Promise<void> {
  const initdb = join(base, "initdb");
  await writeFile(initdb, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  await createCluster({ paths, initdb, asUser: asSelf, user: undefined, durable });
}

const makesCluster = `target="\${1#--pgdata=}"; echo "$@" > "$target/arguments"; echo 18 > "$target/PG_VERSION"`;

test("the folder can be passed by another user but not listed", async () => {
  expect((await stat(paths.dir)).mode & 0o777).toBe(0o711);
  await mkdir(join(base, "given"), { mode: 0o750 });
  await prepareFolder(join(base, "given"));
  expect((await stat(join(base, "given"))).mode & 0o777).toBe(0o750);
});

test("a cluster exists only after initdb has ended well", async () => {
  expect(await clusterExists(paths)).toBe(false);
  await expect(create(`${makesCluster}; echo no room >&2; exit 3`)).rejects.toMatchObject({
    code: "embedded_postgres_failed",
    message: expect.stringContaining("initdb: no room"),
  });
  expect(await clusterExists(paths)).toBe(false);
  expect(await readdir(paths.dir)).toEqual(["password"]);
  await create(makesCluster);
  expect(await clusterExists(paths)).toBe(true);
  expect((await readdir(paths.dir)).sort()).toEqual(["cluster", "password"]);
});

test("initdb syncs what it makes unless the data may be lost", async () => {
  await create(makesCluster);
  expect(await readFile(join(paths.cluster, "arguments"), "utf8")).not.toContain("--no-sync");
  await rm(paths.cluster, { recursive: true });
  await create(makesCluster, false);
  expect(await readFile(join(paths.cluster, "arguments"), "utf8")).toContain("--no-sync");
});

test("the password is in a file and not among initdb's arguments, which everybody can see", async () => {
  await create(
    `${makesCluster}; for a; do case "$a" in --pwfile=*) cp "\${a#--pwfile=}" "$target/given";; esac; done`,
  );
  const password = await readFile(paths.password, "utf8");
  expect(password).toMatch(/^[\w-]{32}$/);
  expect(await readFile(join(paths.cluster, "given"), "utf8")).toBe(password);
  expect(await readFile(join(paths.cluster, "arguments"), "utf8")).not.toContain(password);
});

test("an initdb that says nothing or cannot be started is an error that says so", async () => {
  await expect(create("exit 7")).rejects.toThrow("it ended with 7");
  const initdb = join(base, "missing");
  await expect(
    createCluster({ paths, initdb, asUser: asSelf, user: undefined, durable: true }),
  ).rejects.toThrow("ENOENT");
  await expect(access(paths.cluster)).rejects.toThrow();
});
