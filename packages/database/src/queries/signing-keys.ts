// Public halves of the keys that exports were signed with. None is ever removed, so that old bags can be checked.
import type { Database } from "../database.ts";

export interface SigningKeyRow {
  /** JWK thumbprint (RFC 7638). */
  readonly kid: string;
  /** 32 bytes. */
  readonly publicKey: Buffer;
}

/** Adds keys, the newest first. Those that are there stay as they are. */
export async function insertSigningKeys(database: Database, keys: readonly SigningKeyRow[]): Promise<void> {
  await database.run({
    // What was given first is newer than what was given after it. In the order of their ids, so that two that insert
    // the same do not wait for each other in a circle.
    text: `insert into signing_keys (kid, public_key, created_at)
           select kid, decode(public_key, 'hex'), now() - number * interval '1 microsecond'
           from unnest($1::text[], $2::text[]) with ordinality as given (kid, public_key, number)
           order by kid
           on conflict (kid) do nothing`,
    values: [keys.map(({ kid }) => kid), keys.map(({ publicKey }) => publicKey.toString("hex"))],
    operation: "insert",
    table: "signing_keys",
  });
}

/** All keys, the newest first. */
export function listSigningKeys(database: Database): Promise<SigningKeyRow[]> {
  return database.run<{ kid: string; publicKey: Buffer }>({
    text: `select kid, public_key as "publicKey" from signing_keys order by created_at desc, kid`,
    values: [],
    operation: "select",
    table: "signing_keys",
  });
}
