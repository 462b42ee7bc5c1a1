// What building programs from Go's modules has in common: which, with what linked in, and that there is a Go.
import { EctusError, errorMessage } from "@ectus/core";
import { runCommand } from "./command.ts";

export interface GoBuild {
  /** As in `github.com/prometheus/prometheus`. */
  readonly module: string;
  readonly version: string;
  /**
   * Packages of the module, one a program; "." is the module itself. They are built one after the other: each takes all
   * processors.
   */
  readonly packages: readonly string[];
  /** Passed to the linker, for what a release build sets: the version that the program reports. */
  readonly variables?: Readonly<Record<string, string>>;
}

export const buildTimeoutMs = 20 * 60_000;

/** @throws EctusError `peer_missing` when there is no Go */
export async function requireGo(): Promise<void> {
  await runCommand("go", ["version"], { timeoutMs: 20_000 }).catch((error: unknown) => {
    throw new EctusError(
      "peer_missing",
      {
        reason: `It is built from source, which needs Go 1.26 or later on PATH (${errorMessage(error)}). Install Go, or the program itself, and try again.`,
      },
      { cause: error },
    );
  });
}

/** Leaves symbols out and sets variables. */
export function linkerFlags(variables: Readonly<Record<string, string>> = {}): string {
  const settings = Object.entries(variables).map(([name, value]) => `-X ${name}=${value}`);
  return `-ldflags=${["-s -w", ...settings].join(" ")}`;
}
