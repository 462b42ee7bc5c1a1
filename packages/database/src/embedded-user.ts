// PostgreSQL refuses to run as root, as which containers often run us. This picks the user that it runs as, and how a
// program is started as that user even where the user may not walk through the folders above (a checkout in /root).
import { execFile } from "node:child_process";
import { readFile, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { EctusError, errorMessage, type Logger } from "@ectus/core";

const run = promisify(execFile);
const runTimeoutMs = 10_000;

/** A user and its group by number. */
export interface SystemUser {
  readonly uid: number;
  readonly gid: number;
}

/** What to spawn so that a program runs as the chosen user. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly uid?: number;
  readonly gid?: number;
}

/** Turns a program and its arguments into what to spawn. */
export type AsUser = (file: string, args: readonly string[]) => Command;

/** Starts programs as this process's own user. */
export const asSelf: AsUser = (file, args) => ({ file, args });

/**
 * The user that PostgreSQL runs as when we are root: the owner of a cluster that is there, else `postgres`, which is
 * made if it is missing, else `nobody`.
 *
 * @param cluster folder of the cluster; need not exist
 */
export async function chooseUser(cluster: string, log: Logger): Promise<SystemUser> {
  const owner = await stat(cluster).catch(() => undefined);
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const existing = await findUser("postgres");
  if (existing !== undefined) return existing;
  const made = await createUser("postgres", log);
  if (made !== undefined) return made;
  const nobody = await findUser("nobody");
  if (nobody !== undefined) return nobody;
  throw new EctusError("embedded_postgres_failed", {
    reason: "PostgreSQL refuses to run as root, and this system has no other user. Run as another user.",
  });
}

async function findUser(name: string): Promise<SystemUser | undefined> {
  try {
    const [uid, gid] = await Promise.all(
      ["-u", "-g"].map(async (option) =>
        Number((await run("id", [option, name], { timeout: runTimeoutMs })).stdout),
      ),
    );
    return uid !== undefined && gid !== undefined && uid > 0 ? { uid, gid } : undefined;
  } catch {
    return undefined;
  }
}

// The second is BusyBox's.
const createCommands: readonly (readonly [string, ...string[]])[] = [
  [
    "useradd",
    "--system",
    "--user-group",
    "--no-create-home",
    "--home-dir",
    "/nonexistent",
    "--shell",
    "/bin/false",
  ],
  ["adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/bin/false"],
];

async function createUser(name: string, log: Logger): Promise<SystemUser | undefined> {
  for (const [file, ...args] of createCommands) {
    try {
      await run(file, [...args, name], { timeout: runTimeoutMs });
    } catch (error) {
      log.debug({ reason: errorMessage(error) }, `${file} did not make the user ${name}`);
      continue;
    }
    log.info(`made the system user ${name}, because PostgreSQL refuses to run as root`);
    return findUser(name);
  }
  return undefined;
}

/**
 * How root starts programs as `user`. Where the user can reach everything by itself, it gets no privilege. Where it
 * cannot, setpriv (util-linux) leaves it the one capability that lets it pass.
 *
 * @param programs files that the user must be able to run
 * @param folders folders that the user must be able to pass
 * @throws EctusError `embedded_postgres_failed` that names the folder to open, when the user cannot be let through
 */
export async function asUser(
  user: SystemUser,
  programs: readonly string[],
  folders: readonly string[],
): Promise<AsUser> {
  const closed = await findClosed(user, programs, folders);
  if (closed === undefined) return (file, args) => ({ file, args, ...user });
  const capability = chooseCapability(closed.kind, await ownCapabilities());
  const setpriv = [
    `--reuid=${user.uid}`,
    `--regid=${user.gid}`,
    "--clear-groups",
    "--no-new-privs",
    `--inh-caps=-all,+${capability}`,
    `--ambient-caps=-all,+${capability}`,
    // Or access(2) would ignore the capability, with which PostgreSQL looks for its own programs.
    "--securebits=+no_setuid_fixup",
  ];
  try {
    if (capability === undefined) throw new Error("this container has no capability that would let it pass");
    for (const program of programs) {
      await run("setpriv", [...setpriv, program, "--version"], { timeout: runTimeoutMs, cwd: "/" });
    }
  } catch (error) {
    const remedy =
      closed.kind === "program" ? `chmod -R o+rX '${closed.path}'` : `chmod o+x '${closed.path}'`;
    throw new EctusError(
      "embedded_postgres_failed",
      {
        reason: `PostgreSQL refuses to run as root, and the user ${user.uid} that runs it cannot pass ${closed.path} (${firstLine(errorMessage(error))}). Open it with ${remedy}, or choose another --data-dir if that is where it lies.`,
      },
      { cause: error },
    );
  }
  return (file, args) => ({ file: "setpriv", args: [...setpriv, file, ...args] });
}

interface Closed {
  readonly path: string;
  readonly kind: "program" | "folder";
}

async function findClosed(
  user: SystemUser,
  programs: readonly string[],
  folders: readonly string[],
): Promise<Closed | undefined> {
  // A program first: it needs more than a folder does.
  for (const program of programs) {
    const path = await realpath(program);
    if (!allows(await stat(path), user, 0o5)) return { path, kind: "program" };
  }
  for (const start of [...programs.map(dirname), ...folders]) {
    let folder = await realpath(start);
    while (true) {
      if (!allows(await stat(folder), user, 0o1)) return { path: folder, kind: "folder" };
      if (folder === dirname(folder)) break;
      folder = dirname(folder);
    }
  }
  return undefined;
}

function allows(
  file: { readonly mode: number; readonly uid: number; readonly gid: number },
  user: SystemUser,
  wanted: number,
): boolean {
  const shift = file.uid === user.uid ? 6 : file.gid === user.gid ? 3 : 0;
  return ((file.mode >> shift) & wanted) === wanted;
}

// Numbers from capabilities(7). CAP_DAC_READ_SEARCH passes folders and reads; running a file that is closed takes
// CAP_DAC_OVERRIDE, which is also the only one of the two that Docker grants by default.
const dacOverride = 1n << 1n;
const dacReadSearch = 1n << 2n;

function chooseCapability(kind: Closed["kind"], own: bigint): string | undefined {
  if (kind === "folder" && own & dacReadSearch) return "dac_read_search";
  return own & dacOverride ? "dac_override" : undefined;
}

async function ownCapabilities(): Promise<bigint> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  return BigInt(`0x${/^CapPrm:\s*([\da-f]+)$/m.exec(status)?.[1] ?? "0"}`);
}

function firstLine(text: string): string {
  return text.split("\n").find((line) => line.startsWith("setpriv:")) ?? text.split("\n", 1)[0] ?? "";
}
