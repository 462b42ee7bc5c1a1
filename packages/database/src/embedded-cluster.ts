// Makes the files of an embedded PostgreSQL cluster on first use: whole or not at all, whatever ends the process.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, chown, mkdir, open, readdir, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { EctusError, errorMessage } from "@ectus/core";
import type { AsUser, SystemUser } from "./embedded-user.ts";

/** Where things lie in the folder of an embedded PostgreSQL. The folder is ours, `cluster` is PostgreSQL's. */
export interface ClusterPaths {
  readonly dir: string;
  readonly cluster: string;
  readonly password: string;
}

/** Makes the folder if it is missing. Another user may walk through it to the cluster, but not list it. */
export async function prepareFolder(dataDir: string): Promise<ClusterPaths> {
  const made = await mkdir(dataDir, { recursive: true, mode: 0o711 });
  if (made !== undefined) await chmod(dataDir, 0o711);
  // Without symbolic links, so that only the folders that are checked have to be passed.
  const dir = await realpath(dataDir);
  return { dir, cluster: join(dir, "cluster"), password: join(dir, "password") };
}

export interface CreateClusterOptions {
  readonly paths: ClusterPaths;
  /** Absolute path of initdb. */
  readonly initdb: string;
  readonly asUser: AsUser;
  /** Owner of the cluster; undefined for this process's own user. */
  readonly user: SystemUser | undefined;
  /** False only where the data may be lost with the machine, as in tests. */
  readonly durable: boolean;
  readonly signal?: AbortSignal | undefined;
}

// initdb takes half a second; a machine that swaps, much longer.
const initdbTimeoutMs = 120_000;

/** Whether a whole cluster is there. */
export async function clusterExists({ cluster }: ClusterPaths): Promise<boolean> {
  return (await stat(join(cluster, "PG_VERSION")).catch(() => undefined)) !== undefined;
}

/** The superuser's password of the cluster. */
export async function readPassword(paths: ClusterPaths): Promise<string> {
  try {
    return (await readFile(paths.password, "utf8")).trim();
  } catch (error) {
    throw new EctusError(
      "embedded_postgres_failed",
      {
        reason: `the password of the cluster ${paths.cluster} cannot be read (${errorMessage(error)}). Put the file back, or choose another --data-dir.`,
      },
      { cause: error },
    );
  }
}

/**
 * Runs initdb in a folder beside the cluster's, which takes the cluster's name only when all of it is on disk. Removes
 * what an earlier attempt left.
 */
export async function createCluster(options: CreateClusterOptions): Promise<void> {
  const { paths, user, durable } = options;
  await removeUnfinished(paths.dir);
  const password = randomBytes(24).toString("base64url");
  await writePrivate(paths.password, password);
  const unfinished = join(paths.dir, `${unfinishedPrefix}${randomBytes(6).toString("hex")}`);
  const passwordForInitdb = `${unfinished}.password`;
  try {
    await mkdir(unfinished, { mode: 0o700 });
    await writePrivate(passwordForInitdb, password);
    if (user !== undefined) {
      await chown(unfinished, user.uid, user.gid);
      await chown(passwordForInitdb, user.uid, user.gid);
    }
    await runInitdb(options, unfinished, passwordForInitdb);
    await rm(passwordForInitdb);
    await rename(unfinished, paths.cluster);
    if (durable) await syncFolder(paths.dir);
  } catch (error) {
    await removeUnfinished(paths.dir);
    throw error;
  }
}

const unfinishedPrefix = "unfinished-";

async function removeUnfinished(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (!name.startsWith(unfinishedPrefix)) continue;
    // Retries, because an initdb that outlived its parent may still write there.
    await rm(join(dir, name), { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

async function runInitdb(options: CreateClusterOptions, target: string, passwordFile: string): Promise<void> {
  const { file, args, ...ids } = options.asUser(options.initdb, [
    `--pgdata=${target}`,
    "--username=postgres",
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    // Sorts by code point and knows upper and lower case of all of Unicode, the same on every system.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    ...(options.durable ? [] : ["--no-sync"]),
  ]);
  const signal = AbortSignal.any([
    AbortSignal.timeout(initdbTimeoutMs),
    ...(options.signal === undefined ? [] : [options.signal]),
  ]);
  // In its own process group, so that Ctrl-C in a terminal reaches only us, and our signal ends it.
  const child = spawn(file, args, {
    ...ids,
    cwd: "/",
    detached: true,
    stdio: ["ignore", "ignore", "pipe"],
    signal,
  });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output = (output + text).slice(-maxOutputLength);
  });
  await new Promise<void>((done, fail) => {
    child.on("error", (error) => {
      output += error.message;
      // A process that did start is waited for below, because until its end it writes.
      if (child.pid === undefined) fail(initdbFailed(output));
    });
    child.once("close", (code, ended) => {
      if (code === 0) done();
      else if (options.signal?.aborted === true) fail(options.signal.reason);
      else fail(initdbFailed(output.trim() || `it ended with ${code ?? ended}`));
    });
  });
}

const maxOutputLength = 8_192;

function initdbFailed(reason: string): EctusError {
  return new EctusError("embedded_postgres_failed", { reason: `initdb: ${reason}` });
}

async function writePrivate(path: string, text: string): Promise<void> {
  await rm(path, { force: true });
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
