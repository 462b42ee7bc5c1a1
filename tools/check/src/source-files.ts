// The project's files, without what is installed, built or kept by a running platform.
import { readdir } from "node:fs/promises";
import { join, relative, sep } from "node:path";

const skippedFolders = new Set(["node_modules", "coverage", "dist", "results"]);
const keptDotFolders = new Set([".ci", ".github"]);

/**
 * Paths of the files below `root` that end in one of `extensions` (such as ".ts"), relative to it, with slashes,
 * sorted.
 */
export async function listFiles(root: string, extensions: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  await visit(root);
  return found.sort();

  async function visit(folder: string): Promise<void> {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) {
        const hidden = entry.name.startsWith(".") && !keptDotFolders.has(entry.name);
        if (!hidden && !skippedFolders.has(entry.name)) await visit(path);
      } else if (entry.isFile() && extensions.some((extension) => entry.name.endsWith(extension))) {
        found.push(relative(root, path).split(sep).join("/"));
      }
    }
  }
}
