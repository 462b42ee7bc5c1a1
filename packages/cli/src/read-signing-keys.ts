// Keys that signatures of exports are checked with, from a file that the user has saved.
import { readFile } from "node:fs/promises";
import type { PublicSigningKey } from "@ectus/bag";
import { errorMessage } from "@ectus/core";
import { CommandFault } from "./exit-codes.ts";
import { printable } from "./output.ts";

/** The keys of a file that `--keys` names. */
export async function readSigningKeys(path: string): Promise<readonly PublicSigningKey[]> {
  try {
    const { parseSigningKeys } = await import("@ectus/bag");
    return parseSigningKeys(await readFile(path, "utf8"));
  } catch (error) {
    throw new CommandFault(
      `--keys: ${printable(path)} cannot be used: ${printable(errorMessage(error))}`,
      "keys_unusable",
      true,
      { cause: error },
    );
  }
}
