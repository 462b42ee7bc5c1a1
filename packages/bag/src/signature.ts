// Signatures of bags: Ed25519 (RFC 8032) over the digests of the two files that everything else hangs on. The README
// says how to check one without this program.
import { verify } from "node:crypto";
import { printable } from "./printable.ts";
import {
  isBase64url,
  type PublicSigningKey,
  publicKeyObject,
  type SigningKey,
  thumbprint,
} from "./signing-key.ts";
import type { BagReport } from "./verify.ts";

/** SHA-256 of the files that are signed, in lower-case hexadecimal. */
export interface SignedDigests {
  /** Of tagmanifest-sha256.txt. */
  readonly tagManifestSha256: string;
  /** Of export.json. */
  readonly exportJsonSha256: string;
}

export type SignatureCheck = BagReport["signature"] & {
  /** What makes it that, in a sentence. */
  readonly why: string;
};

const format = "ectus-export-signature";
const version = 1;
const signatureBytes = 64;
// One is shorter than 600 characters.
const mostCharacters = 10_000;

/** The text of export.json.sig. */
export function signBag(key: SigningKey, digests: SignedDigests): string {
  const { kid, x, alg } = key.publicKey;
  const { tagManifestSha256, exportJsonSha256 } = digests;
  const signature = key.sign(messageOf(digests)).toString("base64url");
  const signed = { format, version, alg, kid, x, tagManifestSha256, exportJsonSha256, signature };
  return `${JSON.stringify(signed, undefined, 2)}\n`;
}

// Its first line keeps a signature from being taken for one of anything else that the key signs.
const messageOf = ({ tagManifestSha256, exportJsonSha256 }: SignedDigests): Buffer =>
  Buffer.from(`${format}-v${version}\n${tagManifestSha256}\n${exportJsonSha256}\n`);

/**
 * Checks a signature. Bad input gives a check that says what is wrong with it, never an error.
 *
 * @param text of export.json.sig; undefined if there is none
 * @param digests of the files as they are
 * @param keys those that are trusted
 */
export function checkBagSignature(
  text: string | undefined,
  digests: SignedDigests,
  keys: readonly PublicSigningKey[],
): SignatureCheck {
  if (text === undefined) return { state: "missing", kid: undefined, why: "The bag has no signature." };
  const read = readSignature(text);
  if (typeof read === "string") return { state: "invalid", kid: undefined, why: read };
  const { kid, x } = read;
  const invalid = (why: string): SignatureCheck => ({ state: "invalid", kid, why });
  if (read.tagManifestSha256 !== digests.tagManifestSha256)
    return invalid("It is of another tagmanifest-sha256.txt than the one that is here.");
  if (read.exportJsonSha256 !== digests.exportJsonSha256)
    return invalid("It is of another export.json than the one that is here.");
  if (!verifies(messageOf(digests), x, read.signature))
    return invalid("It was not made by the key that it names, or was changed.");
  return keys.some((key) => key.x === x)
    ? { state: "valid", kid, why: "It was made by a key that is trusted." }
    : {
        state: "unknown_key",
        kid,
        why: `It was made by the key ${kid}, which is not among those that are trusted (${keys.length}).`,
      };
}

interface ReadSignature extends SignedDigests {
  readonly kid: string;
  readonly x: string;
  readonly signature: string;
}

/** What a signature says, or what is wrong with its form. */
function readSignature(text: string): ReadSignature | string {
  if (text.length > mostCharacters)
    return `It has ${text.length} characters, more than any signature (${mostCharacters}).`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "It is not JSON.";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "It is no JSON object.";
  const { tagManifestSha256, exportJsonSha256, kid, x, signature, ...other } = value as Record<
    string,
    unknown
  >;
  if (other.format !== format) return `Its format is ${shown(other.format)}, not "${format}".`;
  if (Number.isSafeInteger(other.version) && Number(other.version) > version)
    return `Its version is ${other.version}: it was made by a newer version of this program, which reads up to ${version}.`;
  if (other.version !== version) return `Its version is ${shown(other.version)}, not ${version}.`;
  if (other.alg !== "EdDSA") return `Its alg is ${shown(other.alg)}, not "EdDSA".`;
  if (!isBase64url(x)) return "Its x is not 32 bytes in base64url.";
  if (kid !== thumbprint(x)) return "Its kid is not the thumbprint of its x.";
  if (!isBase64url(signature, signatureBytes)) return "Its signature is not 64 bytes in base64url.";
  if (!isSha256(tagManifestSha256)) return "Its tagManifestSha256 is not 64 lower-case hexadecimal digits.";
  if (!isSha256(exportJsonSha256)) return "Its exportJsonSha256 is not 64 lower-case hexadecimal digits.";
  return { tagManifestSha256, exportJsonSha256, kid: thumbprint(x), x, signature };
}

const isSha256 = (value: unknown): value is string =>
  typeof value === "string" && /^[0-9a-f]{64}$/.test(value);

function verifies(message: Buffer, x: string, signature: string): boolean {
  try {
    return verify(null, message, publicKeyObject(x), Buffer.from(signature, "base64url"));
  } catch {
    // OpenSSL finds out here which 32 bytes are no point of the curve, or refuses them above, as its version has it.
    return false;
  }
}

/** A value from a file of others, short and on one line. */
const shown = (value: unknown): string => printable(JSON.stringify(value) ?? "missing", 40);
