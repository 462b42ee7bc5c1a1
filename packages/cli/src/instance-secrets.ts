// Secrets that an instance makes for itself on its first start and keeps in DATA_DIR/secrets.json (mode 0600).
import { randomBytes } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { EctusError } from "@ectus/core";

export interface InstanceSecrets {
  /** HMAC secret of stored API keys, unless API_KEY_SECRET says another. */
  readonly apiKeySecret: string;
  /** Passwords of the embedded database's roles. */
  readonly databaseOwnerPassword: string;
  readonly databaseAppPassword: string;
}

const names = ["apiKeySecret", "databaseOwnerPassword", "databaseAppPassword"] as const;

/** Reads the secrets, or makes them if there are none. */
export async function loadInstanceSecrets(dataDir: string): Promise<InstanceSecrets> {
  const file = join(dataDir, "secrets.json");
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text !== undefined) return parse(text, file);
  const secrets: InstanceSecrets = {
    apiKeySecret: random(),
    databaseOwnerPassword: random(),
    databaseAppPassword: random(),
  };
  await writePrivateFile(file, `${JSON.stringify(secrets, undefined, 2)}\n`);
  return secrets;
}

/** Writes a file that only its owner can read, whole or not at all. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
}

const random = (): string => randomBytes(32).toString("base64url");

function parse(text: string, file: string): InstanceSecrets {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const secrets = value as Partial<Record<(typeof names)[number], unknown>> | undefined;
  if (secrets == null || names.some((name) => typeof secrets[name] !== "string")) {
    throw new EctusError("invalid_config", {
      faults: `  ${file}: is damaged. Restore it from a backup; without it no stored API key is valid.`,
    });
  }
  return secrets as InstanceSecrets;
}
