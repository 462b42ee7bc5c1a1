// What the checks of one's access have in common.

/** Where it is written how to get what is missing. */
export const guide = 'docs/operations/on-call.md, "Access", says how to get it.';

/** What is wrong with a password that cannot be read from a URL, mended. */
export const encodePassword = "Write each % of a user or password as %25, each @ as %40, and each / as %2F.";

/** A part of a URL as it is meant; undefined if it has a % that encodes nothing. */
export function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

/** How long one answer is waited for. */
export const patienceMs = 10_000;
