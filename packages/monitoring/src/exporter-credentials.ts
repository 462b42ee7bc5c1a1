// Who may scrape: bearer tokens and users with passwords, each from a file, compared in constant time.
import { hash, timingSafeEqual } from "node:crypto";

/** SHA-256 of what a scraper has to send: all of one length, so that comparing them tells nothing about it. */
export type Digests = readonly Buffer[];

export interface ScrapeCredentials {
  /** Tokens, of which one is enough; undefined when none are configured. */
  readonly tokens?: (() => Digests) | undefined;
  /** `user:password`, of which one is enough; undefined when none are configured. */
  readonly users?: (() => Digests) | undefined;
}

/** Values of `WWW-Authenticate`; empty where anybody may scrape. */
export function challenges({ tokens, users }: ScrapeCredentials): readonly string[] {
  return [
    ...(tokens === undefined ? [] : ['Bearer realm="metrics"']),
    ...(users === undefined ? [] : ['Basic realm="metrics", charset="UTF-8"']),
  ];
}

/** Whether a request with this `Authorization` may pass. */
export function mayPass({ tokens, users }: ScrapeCredentials, authorization: string | undefined): boolean {
  if (tokens === undefined && users === undefined) return true;
  const [, scheme = "", credentials = ""] = /^(\S+) +(\S+) *$/.exec(authorization ?? "") ?? [];
  switch (scheme.toLowerCase()) {
    case "bearer":
      return includes(tokens?.(), digestOf(credentials));
    case "basic":
      return includes(users?.(), digestOf(Buffer.from(credentials, "base64")));
    default:
      return false;
  }
}

/**
 * A token a line; several while they are rotated. Space around them does not count, as Prometheus has it too.
 *
 * @throws Error with what is wrong, without the token
 */
export function parseTokens(text: string): Digests {
  return digestLines(text, (line) =>
    /^[\x21-\x7e]+$/.test(line) ? undefined : "a token of ASCII characters without spaces",
  );
}

// bcrypt, crypt(3), Apache's MD5 and SHA-1: what `htpasswd` writes, and Prometheus's own web.yml expects.
const passwordHash = /^[^:]*:(\$(2[abxy]|apr1|1|5|6|y|argon2\w*)\$|\{SHA\})/;

/**
 * A line `user:password` for each user.
 *
 * @throws Error with what is wrong, without the password
 */
export function parseUsers(text: string): Digests {
  return digestLines(text, (line) => {
    if (passwordHash.test(line)) return "user:password with the password itself, not a hash as of htpasswd";
    return /^[^:]+:.+$/.test(line) ? undefined : "user:password, neither of them empty";
  });
}

/** `expected` says what a line should have been, if it is not. Lines that are empty or begin with # are none. */
function digestLines(text: string, expected: (line: string) => string | undefined): Digests {
  const digests: Buffer[] = [];
  for (const [index, raw] of text
    .replace(/^\ufeff/, "")
    .split("\n")
    .entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const wanted = expected(line);
    if (wanted !== undefined) throw new Error(`line ${index + 1} is not ${wanted}`);
    digests.push(digestOf(line));
  }
  if (digests.length === 0) throw new Error("it holds no line that counts");
  return digests;
}

const digestOf = (credentials: string | Buffer): Buffer => hash("sha256", credentials, "buffer");

/** Compares with all of them, whichever fits. */
function includes(digests: Digests | undefined, digest: Buffer): boolean {
  let found = false;
  for (const known of digests ?? []) if (timingSafeEqual(known, digest)) found = true;
  return found;
}
