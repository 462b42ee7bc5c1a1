// Builds programs in a copy of a Go module, for modules that `go install` refuses or that lack a part: those whose
// go.mod replaces others, and those whose makers generate files before they build.
import { chmod, cp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { EctusError } from "@ectus/core";
import { runCommand } from "./command.ts";
import { buildTimeoutMs, type GoBuild, linkerFlags, requireGo } from "./go.ts";
import type { GetContext } from "./peer.ts";

const downloadTimeoutMs = 5 * 60_000;

export interface GoSourceBuild extends GoBuild {
  /** Changes the copy of the module before it is built. It may change go.mod: Go then adds what go.sum lacks. */
  readonly adapt?: (source: string) => Promise<void>;
}

/** @throws EctusError `peer_missing` when there is no Go, no such module, or the build fails */
export async function goBuild(
  folder: string,
  { module, version, packages, variables, adapt }: GoSourceBuild,
  { progress }: GetContext,
): Promise<void> {
  await requireGo();
  progress(`go mod download ${module}@${version}`);
  const copy = join(folder, "source");
  await copyModule(await downloadModule(module, version, folder), copy);
  await adapt?.(copy);
  const changeable = adapt === undefined ? [] : ["-mod=mod"];
  for (const path of packages) {
    const target = path === "." ? path : `./${path}`;
    progress(`go build ${target} of ${module}@${version}`);
    await runCommand("go", ["build", ...changeable, linkerFlags(variables), "-o", folder, target], {
      timeoutMs: buildTimeoutMs,
      // Without a workspace around, and in the module's own dependencies.
      env: { CGO_ENABLED: "0", GOWORK: "off" },
      cwd: copy,
    });
  }
  await rm(copy, { recursive: true });
}

/** Its folder in Go's own cache. */
async function downloadModule(module: string, version: string, cwd: string): Promise<string> {
  const output = await runCommand("go", ["mod", "download", "-json", `${module}@${version}`], {
    timeoutMs: downloadTimeoutMs,
    env: { GOWORK: "off" },
    cwd,
  });
  // Before or after the JSON comes what Go tells on standard error of its fetching.
  const directory = /"Dir": ("(?:[^"\\]|\\.)*")/.exec(output)?.[1];
  if (directory !== undefined) return JSON.parse(directory) as string;
  throw new EctusError("peer_missing", { reason: `go mod download ${module}@${version} names no folder.` });
}

// Go's cache cannot be written to, and neither could the copy, which the build may have to and the clean-up does.
async function copyModule(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true });
  await chmod(to, 0o755);
  for (const entry of await readdir(to, { recursive: true, withFileTypes: true })) {
    await chmod(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o755 : 0o644);
  }
}
