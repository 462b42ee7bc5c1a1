// Where the programs of a drill are on this machine: on PATH, else in the cache that `npm run peers` fills.
import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { EctusError, errorMessage } from "@ectus/core";

interface Wanted {
  /** What `npm run peers` calls what it comes with, and the version that this gets. */
  readonly peer: readonly [name: string, version: string];
  /** The oldest version that will do. */
  readonly atLeast: readonly [major: number, minor: number];
  readonly versionArgs: readonly string[];
}

const prometheus = ["prometheus", "3.16.0"] as const;
const alertmanager = ["alertmanager", "0.34.2"] as const;
const kubernetes = ["kubernetes", "1.37.2"] as const;

const programs = {
  prometheus: { peer: prometheus, atLeast: [3, 9], versionArgs: ["--version"] },
  promtool: { peer: prometheus, atLeast: [3, 9], versionArgs: ["--version"] },
  alertmanager: { peer: alertmanager, atLeast: [0, 34], versionArgs: ["--version"] },
  amtool: { peer: alertmanager, atLeast: [0, 34], versionArgs: ["--version"] },
  node_exporter: { peer: ["node-exporter", "1.12.1"], atLeast: [1, 0], versionArgs: ["--version"] },
  etcd: { peer: kubernetes, atLeast: [3, 5], versionArgs: ["--version"] },
  "kube-apiserver": { peer: kubernetes, atLeast: [1, 33], versionArgs: ["--version"] },
  "kube-controller-manager": { peer: kubernetes, atLeast: [1, 33], versionArgs: ["--version"] },
  kubectl: { peer: kubernetes, atLeast: [1, 33], versionArgs: ["version", "--client"] },
  "kube-state-metrics": {
    peer: ["kube-state-metrics", "2.18.0"],
    atLeast: [2, 0],
    versionArgs: ["version"],
  },
  jaeger: { peer: ["jaeger", "2.13.0"], atLeast: [2, 0], versionArgs: ["version"] },
} as const satisfies Readonly<Record<string, Wanted>>;

export type ProgramName = keyof typeof programs;

// One that hangs on being asked its version must not hang the drill.
const versionTimeoutMs = 20_000;

/**
 * Absolute paths of programs.
 *
 * @throws EctusError `program_missing` that names all that are missing, why each was not taken, and how to get them
 */
export async function findPrograms<Name extends ProgramName>(
  names: readonly Name[],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Readonly<Record<Name, string>>> {
  const found = await Promise.all(names.map(async (name) => [name, await find(name, environment)] as const));
  const missing = found.filter(([, { path }]) => path === undefined);
  if (missing.length > 0) {
    const peers = new Set(missing.map(([name]) => programs[name].peer[0]));
    throw new EctusError("program_missing", {
      programs: missing.map(([name, { refused }]) => describe(name, refused)).join("\n"),
      peers: [...peers].join(" "),
    });
  }
  return Object.fromEntries(found.map(([name, { path }]) => [name, path])) as Record<Name, string>;
}

interface Search {
  readonly path?: string;
  /** What was found and will not do, in words. */
  readonly refused: readonly string[];
}

async function find(name: ProgramName, environment: NodeJS.ProcessEnv): Promise<Search> {
  const refused: string[] = [];
  for (const folder of folders(name, environment)) {
    const path = join(folder, name);
    if (!(await isExecutable(path))) continue;
    const fault = await faultOf(path, programs[name]);
    if (fault === undefined) return { path, refused };
    refused.push(`${path} ${fault}`);
  }
  return { refused };
}

function folders(name: ProgramName, environment: NodeJS.ProcessEnv): readonly string[] {
  const onPath = (environment.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return [...onPath, join(peersCache(environment), programs[name].peer.join("-"))];
}

/** As tools/peers has it. */
function peersCache({ ECTUS_PEERS_CACHE: own, XDG_CACHE_HOME: xdg }: NodeJS.ProcessEnv): string {
  if (own !== undefined && own !== "") return own;
  return join(xdg !== undefined && xdg !== "" ? xdg : join(homedir(), ".cache"), "ectus", "peers");
}

/** Why a program will not do; undefined when it will. */
async function faultOf(path: string, { atLeast, versionArgs }: Wanted): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await promisify(execFile)(path, [...versionArgs], {
      timeout: versionTimeoutMs,
      killSignal: "SIGKILL",
    });
    const version = /(?<![\d.])\d+(?:\.\d+)+/.exec(stdout + stderr)?.[0];
    if (version === undefined) return `does not tell its version (${versionArgs.join(" ")})`;
    const [major = 0, minor = 0] = version.split(".").map(Number);
    const isEnough = major > atLeast[0] || (major === atLeast[0] && minor >= atLeast[1]);
    return isEnough ? undefined : `has version ${version}`;
  } catch (error) {
    return `does not run: ${errorMessage(error).trim()}`;
  }
}

function describe(name: ProgramName, refused: readonly string[]): string {
  const wanted = `  ${name} ${programs[name].atLeast.join(".")} or later`;
  return refused.length === 0 ? wanted : `${wanted} (${refused.join("; ")})`;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
