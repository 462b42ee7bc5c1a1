// A disk of one mebibyte for tests of what happens when it is full. Mounting it takes root, or sudo without a password.
import { execFileSync } from "node:child_process";

/**
 * Mounts a tmpfs over an empty folder.
 *
 * @returns what unmounts it; undefined if this user may not mount
 * @throws Error if CI=true and this user may not mount
 */
export function mountSmallDisk(folder: string): (() => void) | undefined {
  for (const sudo of [[], ["sudo", "-n"]]) {
    const run = (...command: string[]): void => {
      const [file, ...args] = [...sudo, ...command];
      execFileSync(String(file), args, { stdio: "ignore" });
    };
    try {
      run("mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "tmpfs", folder);
      return () => run("umount", folder);
    } catch {
      // The next way, or none.
    }
  }
  if (process.env.CI === "true")
    throw new Error("CI must be able to mount a tmpfs: run as root or with sudo");
  return undefined;
}
