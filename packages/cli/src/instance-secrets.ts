// Secrets that an instance makes for itself on its first start and keeps in DATA_DIR/secrets.json (mode 0600).
import { randomBytes } from "node:crypto";
import { link, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { EctusError, errorMessage } from "@ectus/core";

export interface InstanceSecrets {
  /** HMAC secret of stored API keys, unless API_KEY_SECRET says another. */
  readonly apiKeySecret: string;
  /** Passwords of the embedded database's roles. */
  readonly databaseOwnerPassword: string;
  readonly databaseAppPassword: string;
}

const names = ["apiKeySecret", "databaseOwnerPassword", "databaseAppPassword"] as const;

const secretsFile = (dataDir: string): string => join(dataDir, "secrets.json");

/** Reads the secrets, or makes them if there are none. Of several processes that do so at once, one makes them. */
export async function loadInstanceSecrets(dataDir: string): Promise<InstanceSecrets> {
  const known = await readInstanceSecrets(dataDir);
  if (known !== undefined) return known;
  const file = secretsFile(dataDir);
  // With new secrets the keys in there would be refused, and nobody would know why.
  if ((await stat(join(dataDir, "credentials.json")).catch(() => undefined)) !== undefined) {
    throw damaged(file, "is missing, and this folder was used before");
  }
  const secrets: InstanceSecrets = {
    apiKeySecret: random(),
    databaseOwnerPassword: random(),
    databaseAppPassword: random(),
  };
  const temporary = await writeTemporary(file, `${JSON.stringify(secrets, undefined, 2)}\n`);
  try {
    await link(temporary, file);
    return secrets;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return (await readInstanceSecrets(dataDir)) ?? secrets;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** The secrets that an earlier start made, if any. */
export async function readInstanceSecrets(dataDir: string): Promise<InstanceSecrets | undefined> {
  const file = secretsFile(dataDir);
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw damaged(file, `cannot be read (${errorMessage(error)})`);
  });
  return text === undefined ? undefined : parse(text, file);
}

/** Writes a file that only its owner can read, whole or not at all. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  await rename(await writeTemporary(path, text), path);
}

async function writeTemporary(path: string, text: string): Promise<string> {
  // Not named by the process id, which another container that shares the folder may have as well.
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  const handle = await open(temporary, "wx", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return temporary;
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
    throw damaged(file, "is damaged");
  }
  return secrets as InstanceSecrets;
}

function damaged(file: string, problem: string): EctusError {
  return new EctusError("invalid_config", {
    faults: `  ${file}: ${problem}; accepts the file that the first start made. Restore it from a backup; without it no stored API key is valid.`,
  });
}
