// How a folder of programs is told to be the right one: every program is there and reports an accepted version.
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage } from "@ectus/core";
import { runCommand } from "./command.ts";
import type { Inspection } from "./peer.ts";

export interface ProgramsOptions {
  readonly names: readonly string[];
  /** Whether a version like "18.6" will do. */
  readonly accepts: (version: string) => boolean;
  /** Arguments that print the version; `--version` by default. */
  readonly versionArgs?: readonly string[];
}

// A program that hangs on --version must not hang the tests.
const versionTimeoutMs = 20_000;

/** An `inspect` for peers that are programs. The version is the one that the first of `names` reports. */
export function inspectPrograms(options: ProgramsOptions): (folder: string) => Promise<Inspection> {
  const { names, accepts, versionArgs = ["--version"] } = options;
  return async (folder) => {
    const paths = names.map((name) => join(folder, name));
    for (const path of paths) {
      if (!(await isExecutable(path))) return { ok: false, reason: `${path} is not there or not executable` };
    }
    const versions = await Promise.all(paths.map((path) => programVersion(path, versionArgs)));
    const refused = versions.find((version) => !version.ok || !accepts(version.version));
    if (refused === undefined) return versions[0] ?? { ok: false, reason: "it names no program" };
    return refused.ok ? { ok: false, reason: `${folder} has version ${refused.version}` } : refused;
  };
}

/** The first version number in what a program prints about itself, such as "18.6" or "3.16.0". */
export function parseVersion(text: string): string | undefined {
  return /(?<![\d.])\d+(?:\.\d+)+/.exec(text)?.[0];
}

async function programVersion(path: string, args: readonly string[]): Promise<Inspection> {
  try {
    const output = await runCommand(path, args, { timeoutMs: versionTimeoutMs });
    const version = parseVersion(output);
    return version === undefined
      ? { ok: false, reason: `${path} ${args.join(" ")} prints no version` }
      : { ok: true, version };
  } catch (error) {
    return { ok: false, reason: errorMessage(error) };
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
