// The Library of Congress' validator of bags (public domain), for the python3 on PATH; from PyPI.
import { definePeer } from "../peer.ts";
import { inspectPythonPackage, installPythonPackage } from "../python-package.ts";

// The last that is published as a wheel.
const version = "1.8.1";

export const bagit = definePeer({
  name: "bagit",
  version,
  about: "the BagIt validator in Python, used with PYTHONPATH set to its folder",
  cost: "2 packages, 8 MB, from PyPI",
  byDefault: true,
  // `python3 -m bagit --validate <bag>` with PYTHONPATH set to the folder.
  provides: ["bagit.py"],
  systemFolders: [],
  onPath: false,
  within: ".",
  inspect: inspectPythonPackage({ name: "bagit", version }),
  source: {
    kind: "cache",
    // It imports pkg_resources, which newer versions of setuptools lack or warn of.
    fill: (folder, context) =>
      installPythonPackage(folder, [`bagit==${version}`, "setuptools==69.5.1"], context),
  },
});
