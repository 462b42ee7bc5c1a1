// The keys that an instance signs exports with: those of SIGNING_KEY, or the one that its first start made.
import { createSigningKey, publicKeyBytes, type SigningKey } from "@ectus/bag";
import type { Config } from "@ectus/core";
import { type Database, insertSigningKeys } from "@ectus/database";
import type { InstanceSecrets } from "./instance-secrets.ts";

/** The newest first: with it is signed. The others are only published. */
export type SigningKeys = readonly [SigningKey, ...SigningKey[]];

export function signingKeysOf(
  { SIGNING_KEY }: Pick<Config, "SIGNING_KEY">,
  secrets: Pick<InstanceSecrets, "signingKey">,
): SigningKeys {
  const [newest = secrets.signingKey, ...older] = SIGNING_KEY ?? [];
  return [createSigningKey(newest), ...older.map(createSigningKey)];
}

/** Has the public halves answered at /v1/signing-keys from now on, for good. To be done before anything is signed. */
export function publishSigningKeys(database: Database, keys: SigningKeys): Promise<void> {
  return insertSigningKeys(
    database,
    keys.map(({ publicKey }) => ({ kid: publicKey.kid, publicKey: publicKeyBytes(publicKey) })),
  );
}
