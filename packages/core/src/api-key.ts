// API keys: how they are made, and the digest by which they are stored and found.
import { createHmac, randomBytes } from "node:crypto";

/** A key is `sk-` and 32 random bytes in base64url. */
const keyPattern = /^sk-[A-Za-z0-9_-]{43}$/;
const shownCharacters = 10;

/** Makes a new key. It is shown once; only its digest is kept. */
export function createApiKey(): string {
  return `sk-${randomBytes(32).toString("base64url")}`;
}

/** Whether a text has the form of a key at all. */
export function isApiKey(text: string): boolean {
  return keyPattern.test(text);
}

/** The first characters of a key, by which people tell keys apart. */
export function apiKeyPrefix(key: string): string {
  return key.slice(0, shownCharacters);
}

/** HMAC-SHA-256 (RFC 2104) of a key under a secret. Keys are compared by digest only, so timing tells nothing. */
export function apiKeyDigest(key: string, secret: string): Buffer {
  return createHmac("sha256", secret).update(key).digest();
}
