// A checkout as a newcomer has it after `npm ci`: the files that git would give them, in a folder of their own, with
// this checkout's installed packages linked in, which saves the minute that npm ci takes.
import { execFile } from "node:child_process";
import { copyFile, mkdir, readdir, realpath, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..", "..");
const ownScope = "@ectus";

/** Makes the checkout in `folder`, which must not be there yet. */
export async function makeCheckout(folder: string): Promise<void> {
  await mkdir(folder);
  const { stdout } = await run("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    maxBuffer: 2 ** 26,
  });
  for (const file of stdout.split("\0").filter((name) => name !== "")) {
    const to = join(folder, file);
    await mkdir(dirname(to), { recursive: true });
    // Git lists files that were removed and not yet committed so.
    await copyFile(join(root, file), to).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
  await linkPackages("", folder);
  for (const name of await readdir(join(folder, "packages")))
    await linkPackages(join("packages", name), folder);
}

/** Links what is installed in `place` of this checkout, except our own packages, which are the copy's. */
async function linkPackages(place: string, folder: string): Promise<void> {
  const from = join(root, place, "node_modules");
  const to = join(folder, place, "node_modules");
  const names: string[] = await readdir(from).catch(() => []);
  if (names.length === 0) return;
  await mkdir(to);
  for (const name of names) {
    if (name !== ownScope) await symlink(join(from, name), join(to, name));
  }
  if (!names.includes(ownScope)) return;
  await mkdir(join(to, ownScope));
  for (const name of await readdir(join(from, ownScope))) {
    const target = await realpath(join(from, ownScope, name));
    await symlink(target.replace(await realpath(root), await realpath(folder)), join(to, ownScope, name));
  }
}
