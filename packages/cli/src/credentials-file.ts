// Reads DATA_DIR/credentials.json, which the first start made. Apart from what makes it, since that needs a database.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { EctusError, errorMessage } from "@ectus/core";

export interface Credentials {
  readonly baseUrl: string;
  /** Where Prometheus finds the metrics; undefined when none are served. */
  readonly metricsUrl?: string | undefined;
  readonly operatorKey: string;
  readonly tenants: readonly {
    readonly id: string;
    readonly name: string;
    readonly adminKey: string;
    readonly key: string;
  }[];
}

export const credentialsFile = (dataDir: string): string => join(dataDir, "credentials.json");

/** What a file of this kind says; undefined if there is none. */
export async function readCredentials(file: string): Promise<Credentials | undefined> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw unusable(file, error);
  });
  if (text === undefined) return undefined;
  try {
    const value = JSON.parse(text) as Credentials;
    if (typeof value.operatorKey === "string" && typeof value.tenants[0]?.key === "string") return value;
  } catch {
    // Said below.
  }
  throw unusable(file, "it is damaged");
}

function unusable(file: string, reason: unknown): EctusError {
  return new EctusError("invalid_config", {
    faults: `  ${file}: cannot be read (${errorMessage(reason)}); accepts the file that the first start made. Restore it, or move it away and make new keys with 'ectus key create'.`,
  });
}
