// Builds programs of a Go module into a folder, from the module proxy that Go is set up with.
import { runCommand } from "./command.ts";
import { buildTimeoutMs, type GoBuild, linkerFlags, requireGo } from "./go.ts";
import type { GetContext } from "./peer.ts";

/** @throws EctusError `peer_missing` when there is no Go or the build fails */
export async function goInstall(
  folder: string,
  { module, version, packages, variables }: GoBuild,
  { progress }: GetContext,
): Promise<void> {
  await requireGo();
  for (const path of packages) {
    const target = `${path === "." ? module : `${module}/${path}`}@${version}`;
    progress(`go install ${target}`);
    await runCommand("go", ["install", linkerFlags(variables), target], {
      timeoutMs: buildTimeoutMs,
      env: { GOBIN: folder, CGO_ENABLED: "0" },
      // In a folder of its own, or Go may take settings of a module around.
      cwd: folder,
    });
  }
}
