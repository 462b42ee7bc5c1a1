// OpenAI's official Python client with what it depends on, for the python3 on PATH; from PyPI.
import { errorMessage } from "@ectus/core";
import { runCommand } from "../command.ts";
import { definePeer, type Inspection } from "../peer.ts";
import { needPip } from "../wheel.ts";

const version = "3.54.0";
const installTimeoutMs = 5 * 60_000;
const importTimeoutMs = 60_000;

export const openaiPython = definePeer({
  name: "openai-python",
  version,
  about: "OpenAI's official Python client, used with PYTHONPATH set to its folder",
  cost: "12 packages, 10 MB, from PyPI",
  byDefault: true,
  provides: ["openai"],
  systemFolders: [],
  onPath: false,
  within: ".",
  inspect: inspectClient,
  source: {
    kind: "cache",
    async fill(folder, { progress }) {
      await needPip();
      progress(`pip install openai==${version}`);
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
          `openai==${version}`,
        ],
        { timeoutMs: installTimeoutMs },
      );
    },
  },
});

// Parts of it are compiled for one version of Python, so it is imported: only that tells whether it still fits.
const importScript = `
import os, sys
sys.path.insert(0, sys.argv[1])
import openai
print(openai.__version__ if os.path.realpath(openai.__file__).startswith(os.path.realpath(sys.argv[1]) + os.sep) else "of another folder")
`;

export async function inspectClient(folder: string): Promise<Inspection> {
  try {
    const printed = await runCommand("python3", ["-c", importScript, folder], {
      timeoutMs: importTimeoutMs,
    });
    const found = printed.trim();
    return found === version
      ? { ok: true, version }
      : { ok: false, reason: `${folder} has the version ${found}` };
  } catch (error) {
    return { ok: false, reason: errorMessage(error) };
  }
}
