// A checker that is a program of its own: what it prints is the fault when it ends with another status than 0.
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";

const timeoutMs = 120_000;

/** Runs a checker in `root`; gives its output as one fault when it fails, else nothing. */
export async function programFaults(
  root: string,
  program: string,
  args: readonly string[],
): Promise<readonly string[]> {
  const child = spawn(program, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const ended = new Promise<string | undefined>((resolve) => {
    child.on("error", (error) => resolve(`${program} cannot be started: ${error.message}`));
    child.on("close", (code, signal) => {
      if (code === 0) resolve(undefined);
      else resolve(signal === null ? "" : `${program} was ended by ${signal} (time limit: ${timeoutMs} ms)`);
    });
  });
  const [out, err, fault] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (fault === undefined) return [];
  const shown = [fault, out.trim(), err.trim()].filter((part) => part !== "").join("\n");
  return [shown === "" ? `${program} failed without a word` : shown];
}
