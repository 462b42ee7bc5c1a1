// Gets a Python package with pip into a folder of its own, which a test puts into PYTHONPATH, and tells such a folder.
import { errorMessage } from "@ectus/core";
import { runCommand } from "./command.ts";
import type { GetContext, Inspection } from "./peer.ts";
import { needPip } from "./wheel.ts";

const installTimeoutMs = 5 * 60_000;
const importTimeoutMs = 60_000;

/**
 * Installs packages and what they depend on into `folder`, from wheels only.
 *
 * @param requirements names and exact versions, as in `name==1.2.3`
 * @throws EctusError `peer_missing` when Python or pip is missing or the download fails
 */
export async function installPythonPackage(
  folder: string,
  requirements: readonly string[],
  { progress }: GetContext,
): Promise<void> {
  await needPip();
  progress(`pip install ${requirements.join(" ")}`);
  await runCommand(
    "python3",
    [
      "-m",
      "pip",
      "install",
      "--disable-pip-version-check",
      "--quiet",
      "--only-binary",
      ":all:",
      "--target",
      folder,
      ...requirements,
    ],
    { timeoutMs: installTimeoutMs },
  );
}

// Parts of one may be compiled for one version of Python, so it is imported: only that tells whether it still fits.
const importScript = `
import importlib, os, sys
folder, name = sys.argv[1:]
sys.path.insert(0, folder)
package = importlib.import_module(name)
inside = os.path.realpath(package.__file__).startswith(os.path.realpath(folder) + os.sep)
version = getattr(package, "__version__", None) or getattr(package, "VERSION", None)
print(version if inside else "of another folder")
`;

/** An `inspect` for a package of one version that lies in the folder itself, whatever else this Python has. */
export function inspectPythonPackage(wanted: {
  readonly name: string;
  readonly version: string;
}): (folder: string) => Promise<Inspection> {
  return async (folder) => {
    try {
      const printed = await runCommand("python3", ["-c", importScript, folder, wanted.name], {
        timeoutMs: importTimeoutMs,
      });
      const found = printed.trim();
      return found === wanted.version
        ? { ok: true, version: found }
        : { ok: false, reason: `${folder} has the version ${found}` };
    } catch (error) {
      return { ok: false, reason: errorMessage(error) };
    }
  };
}
