// What runs: the version, as the package says, and the revision that it was built from.
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Environment } from "@ectus/core";
import packageJson from "../package.json" with { type: "json" };

export const version: string = packageJson.version;

const checkout = join(import.meta.dirname, "..", "..", "..");
const unknown = "unknown";

/**
 * The revision: ECTUS_REVISION, or the file REVISION beside package.json, which builds of images write; else the
 * commit of the checkout; else "unknown". It is a label of a metric, so nothing else that stands there is taken.
 */
export async function readRevision(environment: Environment, root = checkout): Promise<string> {
  const named = environment.ECTUS_REVISION ?? (await read(join(root, "REVISION"))) ?? "";
  return /^[\w.+/-]{1,100}$/.exec(named.trim())?.[0] ?? (await readCommit(join(root, ".git"))) ?? unknown;
}

/** What HEAD names, without git: that program need not be there, and takes longer than all else that is read. */
async function readCommit(git: string): Promise<string | undefined> {
  // In a work tree .git is a file that names the folder, and branches are in the folder that all work trees share.
  const linked = /^gitdir: (.+)$/m.exec((await read(git)) ?? "")?.[1];
  const folder = linked === undefined ? git : resolve(git, "..", linked);
  const common = (await read(join(folder, "commondir")))?.trim();
  const shared = common === undefined ? folder : resolve(folder, common);
  const head = ((await read(join(folder, "HEAD"))) ?? "").trim();
  const branch = /^ref: (refs\/\S+)$/.exec(head)?.[1];
  if (branch === undefined) return commitIn(head);
  const loose = await read(join(shared, branch));
  if (loose !== undefined) return commitIn(loose);
  const packed = ((await read(join(shared, "packed-refs"))) ?? "").split("\n");
  return commitIn(packed.find((line) => line.endsWith(` ${branch}`)) ?? "");
}

const commitIn = (text: string): string | undefined => /^[\da-f]{40,64}\b/.exec(text)?.[0];

const read = (path: string): Promise<string | undefined> => readFile(path, "utf8").catch(() => undefined);
