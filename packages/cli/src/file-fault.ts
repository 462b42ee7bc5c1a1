// Faults of the user's own files, in words that say what to do.
import { errorMessage } from "@ectus/core";
import { CommandFault } from "./exit-codes.ts";
import { printable } from "./output.ts";

const reasons: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full. Make room, or name another place",
  EDQUOT: "the quota is used up. Make room, or name another place",
  EFBIG: "the file system takes no file as large as this. Name another place",
  EACCES: "this user may not write there. Name another place",
  EPERM: "this user may not write there. Name another place",
  EROFS: "the file system is read-only. Name another place",
  ENOENT: "there is no such folder. Make it, or name another place",
  ENOTDIR: "a file is where a folder should be. Name another place",
  EISDIR: "a folder has that name. Name another place",
  ENAMETOOLONG: "the name is too long. Name a shorter one",
};

/** Why `path` could not be written. */
export function fileFault(error: unknown, path: string): CommandFault {
  const { code } = error as { code?: unknown };
  const reason = (typeof code === "string" ? reasons[code] : undefined) ?? errorMessage(error);
  return new CommandFault(`${printable(path)} cannot be written: ${reason}.`, "file_not_written", false, {
    cause: error,
  });
}
