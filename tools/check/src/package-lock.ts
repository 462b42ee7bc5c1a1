// Programs like Biome come as one optional npm package for each platform. npm leaves those out of package-lock.json
// that its registry does not offer, as a mirror may not, and then `npm ci` refuses the file as incomplete, there
// (npm/cli issue 9846) and on other platforms. Naming them with version and platform is enough for npm.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

interface LockEntry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** package-lock.json, as far as it matters here. */
export interface PackageLock {
  readonly packages: Readonly<Record<string, LockEntry>>;
}

/** An optional package that no entry stands for. */
interface Absent {
  readonly name: string;
  readonly range: string;
  readonly dev: boolean;
}

export async function checkPackageLock(root: string): Promise<readonly string[]> {
  return absentPackages(await read(root)).map(
    ({ name, range }) =>
      `package-lock.json: lacks the optional package ${name} ${range}; run: node tools/check/lock.ts --write`,
  );
}

/** Adds what `checkPackageLock` finds, as far as a package's name tells its platform. Gives the names added. */
export async function completePackageLock(root: string): Promise<readonly string[]> {
  const lock = await read(root);
  const { completed, added } = complete(lock);
  if (added.length > 0)
    await writeFile(join(root, "package-lock.json"), `${JSON.stringify(completed, null, 2)}\n`);
  return added;
}

/** The lock with entries for absent packages, in npm's order. */
export function complete(lock: PackageLock): {
  readonly completed: PackageLock;
  readonly added: readonly string[];
} {
  const packages: Record<string, LockEntry> = { ...lock.packages };
  const added: string[] = [];
  for (const { name, range, dev } of absentPackages(lock)) {
    const version = /\d+\.\d+\.\d+[\w.+-]*/.exec(range)?.[0];
    const platform = platformOf(name);
    if (version === undefined || platform === undefined) continue;
    const { cpu, libc, os } = platform;
    // The order of fields that npm writes.
    packages[`node_modules/${name}`] = {
      version,
      cpu,
      ...(dev ? { dev } : {}),
      ...(libc === undefined ? {} : { libc }),
      optional: true,
      os,
    };
    added.push(name);
  }
  const sorted = Object.entries(packages).sort(([a], [b]) => a.localeCompare(b, "en"));
  return { completed: { ...lock, packages: Object.fromEntries(sorted) }, added };
}

function absentPackages({ packages }: PackageLock): readonly Absent[] {
  const absent = new Map<string, Absent>();
  for (const [location, { dev = false, optionalDependencies = {} }] of Object.entries(packages)) {
    for (const [name, range] of Object.entries(optionalDependencies)) {
      if (!isResolved(packages, location, name)) absent.set(name, { name, range, dev });
    }
  }
  return [...absent.values()];
}

/** Whether Node.js would find the package from `location`: beside it, or in a folder above. */
function isResolved(packages: PackageLock["packages"], location: string, name: string): boolean {
  for (
    let folder = location;
    ;
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf("node_modules/") - 1))
  ) {
    if (Object.hasOwn(packages, `${folder === "" ? "" : `${folder}/`}node_modules/${name}`)) return true;
    if (folder === "") return false;
  }
}

const systems: Readonly<Record<string, string>> = {
  aix: "aix",
  android: "android",
  darwin: "darwin",
  freebsd: "freebsd",
  linux: "linux",
  mac: "darwin",
  netbsd: "netbsd",
  openbsd: "openbsd",
  openharmony: "openharmony",
  sunos: "sunos",
  win: "win32",
  win32: "win32",
};

interface Platform {
  readonly os: readonly string[];
  readonly cpu: readonly string[];
  readonly libc: readonly string[] | undefined;
}

const processors = new Set(["arm", "arm64", "ia32", "loong64", "ppc64", "riscv64", "s390x", "x64"]);

/** What "@oxc-parser/binding-linux-arm-musleabihf" says about where it runs. */
function platformOf(name: string): Platform | undefined {
  const words = name.slice(name.indexOf("/") + 1).split("-");
  const os = words.map((word) => systems[word]).find((system) => system !== undefined);
  const cpu = words.find((word) => processors.has(word));
  if (os === undefined || cpu === undefined) return undefined;
  const libc = words.some((word) => word.startsWith("musl"))
    ? "musl"
    : words.some((word) => word.startsWith("gnu"))
      ? "glibc"
      : undefined;
  return { os: [os], cpu: [cpu], libc: os === "linux" && libc !== undefined ? [libc] : undefined };
}

async function read(root: string): Promise<PackageLock> {
  return JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")) as PackageLock;
}
