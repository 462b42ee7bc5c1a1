// Checks of the machine: the runtime, the data folder and its disk.
import { constants } from "node:fs";
import { access, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { errorMessage } from "@ectus/core";
import { type Check, fail, ok, warn } from "./check.ts";

// The first that runs TypeScript as this program is written, and has UUIDv7.
const oldestNode = 26;
const leastFreeBytes = { fail: 256 * 2 ** 20, warn: 2 * 2 ** 30 };

export function checkNode(version = process.versions.node): Check {
  return Number.parseInt(version, 10) >= oldestNode
    ? ok("node", `Node.js ${version}`)
    : fail(
        "node",
        `Node.js ${version}`,
        `Version ${oldestNode} or later is needed. Start with 'npm start' or 'npm run ectus', which bring it, after 'npm ci'.`,
      );
}

export interface DataDirState {
  readonly checks: readonly Check[];
  /** Whether checks that write into the folder may run. */
  readonly usable: boolean;
}

/** @param user numeric id of the user that runs this; undefined where there is none */
export async function checkDataDir(dataDir: string, user = process.getuid?.()): Promise<DataDirState> {
  const found = await stat(dataDir).catch(() => undefined);
  const folder = found === undefined ? await nearestFolder(dirname(dataDir)) : dataDir;
  const space = await checkSpace(folder);
  const name = "data folder";
  try {
    if (found?.isDirectory() === false) throw new Error("it is not a folder");
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    return {
      usable: false,
      checks: [
        fail(
          name,
          `${dataDir} cannot be written to (${errorMessage(error)})`,
          `Let this user write to ${folder}, or choose another folder with --data-dir or DATA_DIR.`,
        ),
        space,
      ],
    };
  }
  if (found === undefined)
    return {
      usable: false,
      checks: [ok(name, `${dataDir} is not there yet; the first start makes it`), space],
    };
  if (user !== undefined && found.uid !== user)
    return {
      usable: false,
      checks: [
        warn(
          name,
          `${dataDir} belongs to user ${found.uid}, and this is user ${user}: writing to it was not tried`,
          `Run this as user ${found.uid}, so that what it makes can be used by the instance.`,
        ),
        space,
      ],
    };
  return { usable: true, checks: [ok(name, `${dataDir} can be written to`), space] };
}

async function nearestFolder(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => undefined);
    if (found !== undefined || folder === dirname(folder)) return folder;
  }
}

async function checkSpace(folder: string): Promise<Check> {
  const { bavail, bsize } = await statfs(folder);
  return judgeSpace(folder, bavail * bsize);
}

/** @param free bytes that this user may still write */
export function judgeSpace(folder: string, free: number): Check {
  const detail = `${(free / 2 ** 30).toFixed(1)} GiB are free at ${folder}`;
  const fix = `Make room there, or choose another disk with --data-dir.`;
  if (free < leastFreeBytes.fail) return fail("disk space", detail, fix);
  return free < leastFreeBytes.warn ? warn("disk space", detail, fix) : ok("disk space", detail);
}
