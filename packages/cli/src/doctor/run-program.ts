// Runs a program of PATH for a check, and says in words why it did not do.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type Environment, errorMessage } from "@ectus/core";
import { patienceMs } from "./on-call-guide.ts";

export type ProgramRun =
  | { readonly ok: true; readonly out: string }
  | { readonly ok: false; readonly isMissing: boolean; readonly reason: string };

/** Runs a program of PATH to its end, or until it has taken too long. */
export async function runProgram(
  environment: Environment,
  name: string,
  args: readonly string[],
  input = "",
): Promise<ProgramRun> {
  try {
    const running = promisify(execFile)(name, [...args], {
      env: environment as NodeJS.ProcessEnv,
      timeout: patienceMs,
      killSignal: "SIGKILL",
    });
    running.child.stdin?.on("error", () => {}).end(input);
    const { stdout, stderr } = await running;
    return { ok: true, out: stdout || stderr };
  } catch (error) {
    const { code, killed, stderr = "" } = error as { code?: unknown; killed?: boolean; stderr?: string };
    if (code === "ENOENT") return { ok: false, isMissing: true, reason: `${name} is not on PATH` };
    if (killed === true)
      return {
        ok: false,
        isMissing: false,
        reason: `${name} did not end within ${patienceMs / 1_000} seconds`,
      };
    return { ok: false, isMissing: false, reason: stderr.trim() || errorMessage(error) };
  }
}
