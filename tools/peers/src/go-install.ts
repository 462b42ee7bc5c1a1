// Builds programs of a Go module into a folder, from the module proxy that Go is set up with.
import { EctusError, errorMessage } from "@ectus/core";
import { runCommand } from "./command.ts";
import type { GetContext } from "./peer.ts";

export interface GoInstallOptions {
  /** As in `github.com/prometheus/prometheus`. */
  readonly module: string;
  readonly version: string;
  /** Packages of the module, one a program. They are built one after the other: each takes all processors. */
  readonly packages: readonly string[];
  /** Passed to the linker, for what a release build sets: the version that the program reports. */
  readonly variables?: Readonly<Record<string, string>>;
}

const buildTimeoutMs = 20 * 60_000;

/** @throws EctusError `peer_missing` when there is no Go or the build fails */
export async function goInstall(
  folder: string,
  { module, version, packages, variables = {} }: GoInstallOptions,
  { progress }: GetContext,
): Promise<void> {
  await runCommand("go", ["version"], { timeoutMs: 20_000 }).catch((error: unknown) => {
    throw new EctusError(
      "peer_missing",
      {
        reason: `It is built from source, which needs Go 1.26 or later on PATH (${errorMessage(error)}). Install Go, or the program itself, and try again.`,
      },
      { cause: error },
    );
  });
  const settings = Object.entries(variables).map(([name, value]) => `-X ${name}=${value}`);
  for (const path of packages) {
    progress(`go install ${module}/${path}@${version}`);
    await runCommand(
      "go",
      ["install", `-ldflags=${["-s -w", ...settings].join(" ")}`, `${module}/${path}@${version}`],
      {
        timeoutMs: buildTimeoutMs,
        env: { GOBIN: folder, CGO_ENABLED: "0" },
        // In a folder of its own, or Go may take settings of a module around.
        cwd: folder,
      },
    );
  }
}
