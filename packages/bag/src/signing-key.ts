// Keys that sign bags: Ed25519 (RFC 8032), made from a seed; their public halves as JWKs (RFC 8037), named by their
// thumbprints (RFC 7638).
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { EctusError } from "@ectus/core";

/** The public half of a key, as a JWK (RFC 8037); `kid` is its thumbprint (RFC 7638). */
export interface PublicSigningKey {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  readonly alg: "EdDSA";
  readonly use: "sig";
  readonly kid: string;
  /** 32 bytes in base64url. */
  readonly x: string;
}

export interface SigningKey {
  readonly publicKey: PublicSigningKey;
  /** 64 bytes. */
  sign(message: Uint8Array): Buffer;
}

/** Bytes of a seed and of a public key. */
const keyBytes = 32;
// PKCS #8 (RFC 8410, section 7) up to the seed, which is all that follows.
const pkcs8Head = Buffer.from("302e020100300506032b657004220420", "hex");

/**
 * The key of a seed.
 *
 * @param seed 32 bytes in base64url, as `SIGNING_KEY` has it
 * @throws EctusError `invalid_config` that does not show the seed
 */
export function createSigningKey(seed: string): SigningKey {
  if (!/^[\w-]{43}$/.test(seed)) {
    throw new EctusError("invalid_config", {
      faults:
        "  SIGNING_KEY: got a seed that is not shown because it is secret, accepts 32 bytes in base64url",
    });
  }
  const key = Buffer.concat([pkcs8Head, Buffer.from(seed, "base64url")]);
  const privateKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
  const { x = "" } = createPublicKey(privateKey).export({ format: "jwk" });
  return {
    publicKey: publicSigningKey(Buffer.from(x, "base64url")),
    sign: (message) => sign(null, message, privateKey),
  };
}

/** The JWK of a public key of 32 bytes. */
export function publicSigningKey(publicKey: Uint8Array): PublicSigningKey {
  const x = Buffer.from(publicKey).toString("base64url");
  return { kty: "OKP", crv: "Ed25519", alg: "EdDSA", use: "sig", kid: thumbprint(x), x };
}

/** The public key of a JWK as 32 bytes. */
export const publicKeyBytes = ({ x }: PublicSigningKey): Buffer => Buffer.from(x, "base64url");

/** What signatures are checked with. May throw if the bytes are no point of the curve. */
export const publicKeyObject = (x: string): KeyObject =>
  createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });

/** Thumbprint of the public key `x`: its required members in the order of their names (RFC 8037, appendix A.3). */
export const thumbprint = (x: string): string =>
  createHash("sha256").update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest("base64url");

/** Whether a value is so many bytes in base64url, in the one way to write them. */
export function isBase64url(value: unknown, bytes: number = keyBytes): value is string {
  if (typeof value !== "string" || value.length !== Math.ceil((bytes * 4) / 3)) return false;
  return Buffer.from(value, "base64url").toString("base64url") === value;
}
