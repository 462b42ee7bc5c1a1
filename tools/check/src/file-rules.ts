// Rules on files as such: how long one may be, and names that say nothing.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { listFiles } from "./source-files.ts";

/** More lines than this, and a file is more than one thing. */
const ceilingLines = 600;

const sourceExtensions = [".ts", ".tsx", ".js", ".mjs", ".cjs", ".css", ".sql", ".sh", ".py"];
const emptyNames = new Set(["helper", "helpers", "util", "utils", "lib"]);

export async function checkFileRules(root: string): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const path of await listFiles(root, sourceExtensions)) {
    const word = emptyWord(path);
    if (word !== undefined) faults.push(`${path}: "${word}" says nothing; name it after what is in it`);
    const lines = (await readFile(join(root, path), "utf8")).split("\n").length - 1;
    if (lines > ceilingLines) faults.push(`${path}: ${lines} lines, ${ceilingLines} are the most; split it`);
  }
  return faults;
}

/** The word of a path's file or folder names that says nothing, if there is one. */
function emptyWord(path: string): string | undefined {
  return path.split(/[/.\-_]/).find((word) => emptyNames.has(word.toLowerCase()));
}
