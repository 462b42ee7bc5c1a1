// Secrets that an instance makes for itself on its first start and keeps in DATA_DIR/secrets.json (mode 0600).
import { hkdfSync, randomBytes } from "node:crypto";
import { link, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { EctusError, errorMessage } from "@ectus/core";

export interface InstanceSecrets {
  /** HMAC secret of stored API keys, unless API_KEY_SECRET says another. */
  readonly apiKeySecret: string;
  /** Passwords of the embedded database's roles. */
  readonly databaseOwnerPassword: string;
  readonly databaseAppPassword: string;
  /** Seed of the key that exports are signed with, unless SIGNING_KEY says another. */
  readonly signingKey: string;
}

const oldestNames = ["apiKeySecret", "databaseOwnerPassword", "databaseAppPassword"] as const;
type OldestSecrets = Pick<InstanceSecrets, (typeof oldestNames)[number]>;

const secretsFile = (dataDir: string): string => join(dataDir, "secrets.json");

/** Reads the secrets, or makes them if there are none. Of several processes that do so at once, one makes them. */
export async function loadInstanceSecrets(dataDir: string): Promise<InstanceSecrets> {
  const file = secretsFile(dataDir);
  const known = await readSecrets(file);
  if (known !== undefined) {
    if (!known.isWhole) await writePrivateFile(file, render(known.secrets));
    return known.secrets;
  }
  // With new secrets the keys in there would be refused, and nobody would know why.
  if ((await stat(join(dataDir, "credentials.json")).catch(() => undefined)) !== undefined) {
    throw damaged(file, "is missing, and this folder was used before");
  }
  const secrets: InstanceSecrets = {
    apiKeySecret: random(),
    databaseOwnerPassword: random(),
    databaseAppPassword: random(),
    signingKey: random(),
  };
  const temporary = await writeTemporary(file, render(secrets));
  try {
    await link(temporary, file);
    await syncFolder(file);
    return secrets;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return (await readSecrets(file))?.secrets ?? secrets;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** The secrets that an earlier start made, if any. */
export async function readInstanceSecrets(dataDir: string): Promise<InstanceSecrets | undefined> {
  return (await readSecrets(secretsFile(dataDir)))?.secrets;
}

/** Writes a file that only its owner can read, whole or not at all; it is durable when this resolves. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  await rename(await writeTemporary(path, text), path);
  await syncFolder(path);
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

/** Makes the name of a file durable. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

const random = (): string => randomBytes(32).toString("base64url");
const render = (secrets: InstanceSecrets): string => `${JSON.stringify(secrets, undefined, 2)}\n`;

interface ReadSecrets {
  readonly secrets: InstanceSecrets;
  /** Whether all of them are in the file. */
  readonly isWhole: boolean;
}

async function readSecrets(file: string): Promise<ReadSecrets | undefined> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw damaged(file, `cannot be read (${errorMessage(error)})`);
  });
  return text === undefined ? undefined : parse(text, file);
}

function parse(text: string, file: string): ReadSecrets {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const read = value as Partial<Record<keyof InstanceSecrets, unknown>> | undefined;
  if (read == null || oldestNames.some((name) => typeof read[name] !== "string")) {
    throw damaged(file, "is damaged");
  }
  const oldest = read as OldestSecrets;
  const { signingKey = derivedSigningKey(oldest) } = read;
  if (typeof signingKey !== "string" || !/^[\w-]{43}$/.test(signingKey)) throw damaged(file, "is damaged");
  return { secrets: { ...oldest, signingKey }, isWhole: read.signingKey !== undefined };
}

/**
 * The signing key of a file that has none, as a version without exports made it. It follows from the other secrets
 * (HKDF, RFC 5869), so that all processes that start at once, and one whose write is lost, come to the same.
 */
function derivedSigningKey(secrets: OldestSecrets): string {
  const known = JSON.stringify(oldestNames.map((name) => secrets[name]));
  return Buffer.from(hkdfSync("sha256", known, "", "ectus signing key", 32)).toString("base64url");
}

function damaged(file: string, problem: string): EctusError {
  return new EctusError("invalid_config", {
    faults: `  ${file}: ${problem}; accepts the file that the first start made. Restore it from a backup; without it no stored API key is valid.`,
  });
}
