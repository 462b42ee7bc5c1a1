// A value made from files, made anew when they change, as with certificates and passwords that are rotated.
import { readFileSync, statSync } from "node:fs";
import { errorMessage } from "@ectus/core";
import type { FaultLog } from "./fault-log.ts";

export interface ReloadedFilesOptions<T> {
  readonly paths: readonly string[];
  /** @throws Error with what is wrong, without any content of the files */
  readonly parse: (texts: readonly string[]) => T;
  readonly faults: FaultLog;
}

/**
 * Reads the files, and gives a function that returns the value of what they hold now. Files that cannot be used any
 * more leave the last good value in force.
 *
 * It looks at the files whenever it is asked, which takes microseconds: a watch would not see a mounted secret whose
 * folder is exchanged, and a timer would serve what has expired until it rings.
 *
 * @throws Error when they cannot be read or used the first time
 */
export function reloadedFiles<T>({ paths, parse, faults }: ReloadedFilesOptions<T>): () => T {
  // Looked at before they are read, so that a change in between is seen the next time.
  let seen: string | undefined = stampOf(paths);
  let value = parse(readAll(paths));
  const name = paths.join(", ");
  return () => {
    try {
      const stamp = stampOf(paths);
      if (stamp === seen) return value;
      seen = undefined;
      const texts = readAll(paths);
      // What was read and is wrong stays wrong until it changes; what could not be read is tried again.
      seen = stamp;
      value = parse(texts);
      faults.mended(name, { files: paths }, "changed files are in use");
    } catch (error) {
      faults.failed(
        name,
        { files: paths, reason: errorMessage(error) },
        "changed files cannot be used; what they held before stays in force",
      );
    }
    return value;
  };
}

function stampOf(paths: readonly string[]): string {
  return paths
    .map((path) => {
      const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
      return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
    })
    .join("; ");
}

const readAll = (paths: readonly string[]): string[] => paths.map((path) => readFileSync(path, "utf8"));
