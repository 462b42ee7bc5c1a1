// DATA_DIR: the folder in which an instance keeps what is its own.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { EctusError, errorMessage } from "@ectus/core";
import type { InstanceConfig } from "./instance-config.ts";
import { type InstanceSecrets, loadInstanceSecrets } from "./instance-secrets.ts";

/** Makes the folder of an instance and its secrets, unless they are there. */
export async function openDataDir(dataDir: string): Promise<InstanceSecrets> {
  try {
    // The embedded database's user has to pass through.
    await mkdir(dataDir, { recursive: true, mode: 0o711 });
    return await loadInstanceSecrets(dataDir);
  } catch (error) {
    if (error instanceof EctusError) throw error;
    throw new EctusError(
      "invalid_config",
      {
        faults: `  DATA_DIR: got ${JSON.stringify(dataDir)}, which cannot be used (${errorMessage(error)}); accepts a folder that this user can write to`,
      },
      { cause: error },
    );
  }
}

/** Where an instance keeps files. */
export function storageUrl({ config, dataDir }: InstanceConfig): string {
  return config.STORAGE_URL ?? pathToFileURL(join(dataDir, "files")).href;
}
