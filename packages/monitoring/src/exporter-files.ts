// The files that the configuration of the metrics exporter names: certificate and key, tokens, users.
import { createSecureContext } from "node:tls";
import { type Config, EctusError, errorMessage } from "@ectus/core";
import { parseTokens, parseUsers, type ScrapeCredentials } from "./exporter-credentials.ts";
import { createFaultLog, type FaultLog } from "./fault-log.ts";
import { reloadedFiles } from "./reloaded-files.ts";

const exporterFiles = [
  "METRICS_TLS_CERT_FILE",
  "METRICS_TLS_KEY_FILE",
  "METRICS_BEARER_TOKEN_FILE",
  "METRICS_BASIC_AUTH_FILE",
] as const;

/** Paths, by the variables that name them, so that a fault can say which. */
export type ExporterFiles = Partial<Pick<Config, (typeof exporterFiles)[number]>>;

export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

export interface OpenedFiles {
  readonly credentials: ScrapeCredentials;
  /** What is in force now; the same object until the files change. Undefined without TLS. */
  readonly keyPair: (() => KeyPair) | undefined;
}

/** @throws EctusError `invalid_config` that lists every file which cannot be used */
export function openExporterFiles(files: ExporterFiles, faults: FaultLog): OpenedFiles {
  const unusable: string[] = [];
  function open<T>(
    variables: readonly (keyof ExporterFiles)[],
    parse: (texts: readonly string[]) => T,
    accepts: string,
  ): (() => T) | undefined {
    const paths = variables.flatMap((variable) => files[variable] ?? []);
    if (paths.length < variables.length) return undefined;
    try {
      return reloadedFiles({ paths, parse, faults });
    } catch (error) {
      const got = paths.map((path) => JSON.stringify(path)).join(", ");
      unusable.push(
        `  ${variables.join(", ")}: got ${got}, which cannot be used (${errorMessage(error)}); accepts ${accepts}`,
      );
      return undefined;
    }
  }
  const keyPair = open(
    ["METRICS_TLS_CERT_FILE", "METRICS_TLS_KEY_FILE"],
    parseKeyPair,
    "PEM files of a certificate and of its private key, which has no passphrase",
  );
  const tokens = open(
    ["METRICS_BEARER_TOKEN_FILE"],
    ([text = ""]) => parseTokens(text),
    "a file with a token a line",
  );
  const users = open(
    ["METRICS_BASIC_AUTH_FILE"],
    ([text = ""]) => parseUsers(text),
    "a file with a line user:password for each user",
  );
  if (unusable.length > 0) throw new EctusError("invalid_config", { faults: unusable.join("\n") });
  return { keyPair, credentials: { tokens, users } };
}

/**
 * How many files are configured, all of which can be used.
 *
 * @throws EctusError `invalid_config` that lists every file which cannot be used
 */
export function checkExporterFiles(files: ExporterFiles): number {
  openExporterFiles(files, createFaultLog({ info() {}, warn() {} }));
  return exporterFiles.filter((name) => files[name] !== undefined).length;
}

function parseKeyPair([cert = "", key = ""]: readonly string[]): KeyPair {
  // Throws where they are no PEM or do not belong together, as between the two steps of a rotation. Without this
  // check an empty certificate would be taken, and every handshake fail.
  if (!cert.includes("-----BEGIN CERTIFICATE-----")) throw new Error("the certificate is not PEM");
  createSecureContext({ cert, key });
  return { cert, key };
}
