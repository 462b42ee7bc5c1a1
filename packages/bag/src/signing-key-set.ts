// Public keys as /v1/signing-keys answers them and as people save that answer: a JWK Set (RFC 7517, section 5).
import { EctusError } from "@ectus/core";
import { isBase64url, type PublicSigningKey, publicSigningKey, thumbprint } from "./signing-key.ts";

const mostCharacters = 1_000_000;

/**
 * The keys of a saved answer of /v1/signing-keys. Keys of other kinds are left out, as RFC 7517 has it.
 *
 * @throws EctusError `invalid_request` that says what is wrong
 */
export function parseSigningKeys(json: string): readonly PublicSigningKey[] {
  if (json.length > mostCharacters) throw fault(`it has more than ${mostCharacters} characters`);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw fault("it is not JSON");
  }
  const { keys } = asObject(value, "it");
  if (!Array.isArray(keys)) throw fault('it has no list "keys"');
  const found = keys
    .map((key: unknown, index) => ({ key: asObject(key, `keys[${index}]`), name: `keys[${index}]` }))
    .filter(({ key }) => key.kty === "OKP" && key.crv === "Ed25519")
    .map(({ key, name }) => parseKey(key, name));
  if (found.length === 0) throw fault("it has no key of the kind Ed25519");
  return found;
}

function parseKey({ x, kid, d }: Readonly<Record<string, unknown>>, name: string): PublicSigningKey {
  if (d !== undefined) throw fault(`${name} is a private key, which belongs nowhere but into SIGNING_KEY`);
  if (!isBase64url(x)) throw fault(`${name}.x is not 32 bytes in base64url`);
  if (kid !== undefined && kid !== thumbprint(x)) throw fault(`${name}.kid is not the thumbprint of its x`);
  return publicSigningKey(Buffer.from(x, "base64url"));
}

function asObject(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw fault(`${name} is no object`);
}

const fault = (reason: string): EctusError =>
  new EctusError("invalid_request", {
    reason: `These are no signing keys: ${reason}. Give the answer of GET /v1/signing-keys as it was saved.`,
  });
