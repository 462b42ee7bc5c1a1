// Paths of files in a bag, as a manifest and export.json name them: below the bag's folder, and nowhere else.

const mostCharacters = 4_096;

/** Why a path is none of a file of a bag, in words that go on from "it"; undefined if it is one. */
export function pathFault(path: string): string | undefined {
  if (path === "") return "is empty";
  if (path.length > mostCharacters) return `has more than ${mostCharacters} characters`;
  if (path.includes("\\")) return "has a backslash";
  if (path.includes("\0")) return "has the character U+0000";
  if (!path.isWellFormed()) return "has half of a surrogate pair";
  // RFC 8493, section 5.2: a reader must not be led out of the bag, also not by a home folder or a drive.
  if (/^(\/|~|[a-zA-Z]:)/.test(path)) return "is not below the bag's folder";
  const segments = path.split("/");
  if (segments.includes("..")) return "leads out of its folder by ..";
  if (segments.includes(".") || segments.includes("")) return "has an empty segment or one that is .";
  return undefined;
}
