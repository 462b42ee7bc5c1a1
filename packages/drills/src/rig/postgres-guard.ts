// Ends the PostgreSQL of a drill whose process was killed and could not. An instance ends what an earlier one left in its
// folder; no other drill ever looks into a scratch folder. The kernel's word (setpriv --pdeathsig) does not reach
// PostgreSQL, which another package starts, and partly as another user.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

// Waits for the end of its input, which comes when this process ends, however that is. Then an immediate shutdown.
const script = 'read -r _; pid=$(head -n 1 "$0") && kill -s QUIT "$pid"';

/**
 * Resolves when it watches. Returns how to end it.
 *
 * @param folder of the embedded PostgreSQL
 */
export async function guardPostgres(folder: string): Promise<() => Promise<void>> {
  const child = spawn("sh", ["-c", script, join(folder, "cluster", "postmaster.pid")], {
    // In a process group of its own: what ends ours must not end it first.
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  await once(child, "spawn");
  const exited = once(child, "exit");
  return async () => {
    child.kill("SIGKILL");
    await exited;
  };
}
