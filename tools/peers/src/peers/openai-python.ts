// OpenAI's official Python client with what it depends on, for the python3 on PATH; from PyPI.
import { definePeer } from "../peer.ts";
import { inspectPythonPackage, installPythonPackage } from "../python-package.ts";

const version = "3.54.0";

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
  inspect: inspectPythonPackage({ name: "openai", version }),
  source: {
    kind: "cache",
    fill: (folder, context) => installPythonPackage(folder, [`openai==${version}`], context),
  },
});
