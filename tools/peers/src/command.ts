// Runs a program to its end with a time limit, keeps what it printed, and explains a failure with the last lines.
import { spawn } from "node:child_process";
import { EctusError, errorMessage } from "@ectus/core";

export interface CommandOptions {
  readonly timeoutMs: number;
  readonly cwd?: string;
  /** Variables on top of this process's own. */
  readonly env?: Readonly<Record<string, string>>;
}

const keptCharacters = 64 * 1024;
const shownLines = 12;

/**
 * Runs `program` and gives what it printed, standard output and error together, the last 64 KiB of it.
 *
 * @throws EctusError `peer_missing` when it cannot be started, fails or takes longer than the time limit
 */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (what: string, cause?: unknown) =>
    reject(new EctusError("peer_missing", { reason: `${[program, ...args].join(" ")} ${what}` }, { cause }));
  const child = spawn(program, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: options.timeoutMs,
    killSignal: "SIGKILL",
  });
  let output = "";
  const keep = (chunk: string) => {
    output = (output + chunk).slice(-keptCharacters);
  };
  child.stdout.setEncoding("utf8").on("data", keep);
  child.stderr.setEncoding("utf8").on("data", keep);
  child.on("error", (error) => fail(`cannot be started: ${errorMessage(error)}`, error));
  child.on("close", (code, signal) => {
    if (code === 0) return resolve(output);
    const ended =
      signal === "SIGKILL"
        ? `was ended, having taken ${options.timeoutMs} ms or more`
        : `ended with ${signal ?? code}`;
    fail(`${ended}:\n${lastLines(output)}`);
  });
  return promise;
}

function lastLines(text: string): string {
  return text
    .trimEnd()
    .split("\n")
    .slice(-shownLines)
    .map((line) => `  ${line}`)
    .join("\n");
}
