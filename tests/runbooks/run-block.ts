// Runs one block of a document against a live stack, as somebody on call would, and rejects when it fails.
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { RunnableBlock } from "./runbook-blocks.ts";

export interface Shell {
  /** Its working folder, which also keeps what blocks have exported. */
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
}

const timeLimitMs = 60_000;

/** A terminal: a block finds the variables that blocks before it have set. */
export async function openShell(
  folder: string,
  environment: Readonly<Record<string, string>>,
): Promise<Shell> {
  await writeFile(join(folder, ".exported"), "");
  return { folder, environment };
}

/**
 * Resolves with what it printed.
 *
 * @param pod that a person would look up by now: the one of the last block may be gone
 */
export function runShellBlock(
  { code }: RunnableBlock,
  { folder, environment }: Shell,
  pod: string,
): Promise<string> {
  const script = `set -a\nsource ./.exported\nPOD='${pod}'\n${code}\nexport -p > ./.exported\n`;
  return run("bash", ["-euo", "pipefail", "-c", script], { folder, environment });
}

/** Only what is done under Mitigation may change anything. */
export function runSqlBlock(
  { code, section }: RunnableBlock,
  { folder, environment }: Shell,
): Promise<string> {
  const { DATABASE_OWNER_URL: url = "" } = environment;
  const readOnly = section === "Mitigation" ? {} : { PGOPTIONS: "-c default_transaction_read_only=on" };
  return run("psql", ["--no-psqlrc", "--set=ON_ERROR_STOP=1", url, "--command", code], {
    folder,
    environment: { ...environment, ...readOnly },
  });
}

function run(program: string, args: readonly string[], { folder, environment }: Shell): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  // In a group of its own, so that at the time limit all of it is ended.
  // Nothing to read: whoever waits for an answer at a terminal gets none here.
  const child = spawn(program, args, {
    cwd: folder,
    env: environment,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
    });
  let isLate = false;
  const limit = setTimeout(() => {
    isLate = true;
    process.kill(-(child.pid ?? 0), "SIGKILL");
  }, timeLimitMs);
  child.on("error", reject);
  child.on("close", (code) => {
    clearTimeout(limit);
    if (code === 0) resolve(printed);
    else
      reject(
        new Error(`${isLate ? `it took more than ${timeLimitMs} ms` : `it ended with ${code}`}:\n${printed}`),
      );
  });
  return promise;
}
