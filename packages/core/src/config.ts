// Configuration from the environment and an optional file of KEY=value lines, checked as a whole: every fault is
// reported at once, with the variable's name, what it got and what it accepts. Secrets are never printed.
import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { EctusError, errorMessage } from "./errors.ts";
import { acceptedLogLevels, parseLogLevels } from "./log-levels.ts";

/** The variables as text, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

interface Variable<T> {
  /** What it is for, in one sentence. */
  readonly help: string;
  /** What it accepts, in words that complete "accepts …". */
  readonly accepts: string;
  /** Its value when unset, as text; undefined when there is none. */
  readonly default?: string;
  readonly secret?: boolean;
  /** The value, or undefined if the text is not acceptable. */
  readonly parse: (text: string) => T | undefined;
}

type VariableWithDefault<T> = Variable<T> & { readonly default: string };

function variable<T>(definition: VariableWithDefault<T>): VariableWithDefault<T>;
function variable<T>(definition: Variable<T>): Variable<T>;
function variable<T>(definition: Variable<T>): Variable<T> {
  return definition;
}

const port = (text: string): number | undefined => {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return value <= 65_535 ? value : undefined;
};

const oneOf =
  <const T extends string>(...values: readonly T[]) =>
  (text: string): T | undefined =>
    values.find((value) => value === text);

const path = (text: string): string | undefined => (text === "" || text.includes("\0") ? undefined : text);

const address = (text: string): string | undefined => (/^[\w.:-]+$/.test(text) ? text : undefined);

const urlOf =
  (...protocols: string[]) =>
  (text: string): string | undefined => {
    const url = URL.parse(text);
    return url !== null && protocols.includes(url.protocol) ? text : undefined;
  };

const minimumSecretLength = 32;

function parseSecrets(text: string): readonly string[] | undefined {
  const secrets = text.split(",").map((secret) => secret.trim());
  return secrets.every((secret) => secret.length >= minimumSecretLength) ? secrets : undefined;
}

function parseSeeds(text: string): readonly string[] | undefined {
  const seeds = text.split(",").map((seed) => seed.trim());
  return seeds.every((seed) => /^[\w-]{43}$/.test(seed)) ? seeds : undefined;
}

const wholeNumber =
  (least: number, most: number) =>
  (text: string): number | undefined => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    return value >= least && value <= most ? value : undefined;
  };

function parseList(text: string): readonly string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

function parseAddresses(text: string): readonly string[] | undefined {
  const list = parseList(text);
  return list.every((item) => /^[\da-fA-F.:]+(\/\d{1,3})?$/.test(item)) ? list : undefined;
}

const trueOrFalse = (text: string): boolean | undefined =>
  text === "true" ? true : text === "false" ? false : undefined;

function milliseconds(text: string): number | undefined {
  const value = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  return value >= 1 && value <= 3_600_000 ? value : undefined;
}

function share(text: string): number | undefined {
  const value = /^(\d+\.?\d*|\.\d+)(e-\d{1,2})?$/i.test(text) ? Number(text) : Number.NaN;
  return value >= 0 && value <= 1 ? value : undefined;
}

/** As the environment variables of OpenTelemetry have them: https://opentelemetry.io/docs/specs/otel/resource/sdk/ */
function parsePairs(text: string): [string, string][] | undefined {
  const pairs: [string, string][] = [];
  for (const item of parseList(text)) {
    const [, name, value] = /^([\w.\-/]+)\s*=\s*(.*)$/.exec(item) ?? [];
    if (name === undefined || value === undefined) return undefined;
    try {
      pairs.push([name, decodeURIComponent(value)]);
    } catch {
      return undefined;
    }
  }
  return pairs;
}

function parseHeaders(text: string): Readonly<Record<string, string>> | undefined {
  const pairs = parsePairs(text);
  const isSane = pairs?.every(([name, value]) => /^[\w-]+$/.test(name) && /^[\x20-\x7e]*$/.test(value));
  return pairs !== undefined && isSane ? Object.fromEntries(pairs) : undefined;
}

function parseAttributes(text: string): Readonly<Record<string, string>> | undefined {
  const pairs = parsePairs(text);
  return pairs === undefined ? undefined : Object.fromEntries(pairs);
}

/** Which access lines of a route are logged. */
export type LogSample = { readonly share: number } | { readonly linesPerSecond: number };

function parseLogSample(text: string): ReadonlyMap<string, LogSample> | undefined {
  const samples = new Map<string, LogSample>();
  for (const item of parseList(text)) {
    const [, route, amount = "", perSecond] = /^(\*|\/[^\s=,]*)=([\d.eE-]+)(\/s)?$/.exec(item) ?? [];
    const value = perSecond === undefined ? share(amount) : Number(amount);
    if (route === undefined || value === undefined || !(value >= 0)) return undefined;
    samples.set(route, perSecond === undefined ? { share: value } : { linesPerSecond: value });
  }
  return samples;
}

/** Every variable of the platform. The table of the README is made from it. */
export const variables = {
  DATABASE_URL: variable({
    help: "PostgreSQL (15 to 18) that the platform uses. Unset: an embedded PostgreSQL 18 in DATA_DIR.",
    accepts: "a URL like postgres://user:password@host:5432/database",
    secret: true,
    parse: urlOf("postgres:", "postgresql:"),
  }),
  DATABASE_OWNER_URL: variable({
    help: "The same database as the role that owns the schema, for migrations. Unset: DATABASE_URL.",
    accepts: "a URL like postgres://owner:password@host:5432/database",
    secret: true,
    parse: urlOf("postgres:", "postgresql:"),
  }),
  DATABASE_POOL_SIZE: variable({
    help: "Connections to PostgreSQL that one process keeps at most.",
    accepts: "a whole number from 2 to 500",
    default: "10",
    parse: (text) => {
      const value = /^\d{1,3}$/.test(text) ? Number(text) : 0;
      return value >= 2 && value <= 500 ? value : undefined;
    },
  }),
  DATA_DIR: variable({
    help: "Folder for what this instance keeps: embedded database, files, models, credentials.",
    accepts: "a path",
    default: ".ectus",
    parse: path,
  }),
  HOST: variable({
    help: "Address that the API listens on.",
    accepts: "an IP address or host name",
    default: "0.0.0.0",
    parse: address,
  }),
  PORT: variable({
    help: "Port that the API listens on; 0 takes a free one.",
    accepts: "a port from 0 to 65535",
    default: "8080",
    parse: port,
  }),
  TRUSTED_PROXIES: variable({
    help: "Proxies whose X-Forwarded-For is believed.",
    accepts: "IP addresses or CIDR ranges, separated by commas",
    default: "",
    parse: parseAddresses,
  }),
  API_KEY_SECRET: variable({
    help: "Secret under which API keys are stored as HMACs. To rotate, put the new one first and keep the old ones. Unset: made on first start, for one process.",
    accepts: `secrets of at least ${minimumSecretLength} characters, separated by commas`,
    secret: true,
    parse: parseSecrets,
  }),
  STORAGE_URL: variable({
    help: "Where tenants' files and exports are kept. Unset: the folder files in DATA_DIR.",
    accepts: "a URL like file:///var/lib/ectus/files or s3://bucket/prefix?region=eu-central-1",
    parse: urlOf("file:", "s3:"),
  }),
  SIGNING_KEY: variable({
    help: "Ed25519 key that exports are signed with. To rotate, put the new one first. Unset: made on first start, for one process.",
    accepts: "seeds of 32 bytes in base64url, 43 characters each, separated by commas",
    secret: true,
    parse: parseSeeds,
  }),
  EXPORTS_ENABLED: variable({
    help: "Whether this process runs exports; false for the API where `ectus worker` runs them.",
    accepts: "true or false",
    default: "true",
    parse: trueOrFalse,
  }),
  EXPORT_CONCURRENCY: variable({
    help: "Exports that run at a time, over all processes.",
    accepts: "a whole number from 1 to 64",
    default: "2",
    parse: wholeNumber(1, 64),
  }),
  EXPORT_BYTES_PER_SECOND: variable({
    help: "Bytes that one export reads a second at most, so that requests do not wait for it; 0 is no limit.",
    accepts: "a whole number from 0 to 10000000000",
    default: "20000000",
    parse: wholeNumber(0, 10_000_000_000),
  }),
  EXPORT_TTL_HOURS: variable({
    help: "Hours for which a finished export can be downloaded.",
    accepts: "a whole number from 1 to 8760",
    default: "168",
    parse: wholeNumber(1, 8_760),
  }),
  AI_PROVIDERS: variable({
    help: "File that describes providers, models, prices and routes. Unset: the built-in model.",
    accepts: "the path of a YAML file",
    parse: path,
  }),
  METRICS_ENABLED: variable({
    help: "Whether anything is measured and served for Prometheus.",
    accepts: "true or false",
    default: "true",
    parse: trueOrFalse,
  }),
  METRICS_PORT: variable({
    help: "Port that /metrics is served on, apart from the API; 0 takes a free one.",
    accepts: "a port from 0 to 65535",
    default: "9090",
    parse: port,
  }),
  METRICS_HOST: variable({
    help: "Address that /metrics is served on. Unset: HOST's.",
    accepts: "an IP address or host name",
    parse: address,
  }),
  METRICS_TLS_CERT_FILE: variable({
    help: "Certificate, with its chain, that /metrics is served with over HTTPS; read again when it changes.",
    accepts: "the path of a PEM file, together with METRICS_TLS_KEY_FILE",
    parse: path,
  }),
  METRICS_TLS_KEY_FILE: variable({
    help: "Private key of that certificate; read again when it changes.",
    accepts: "the path of a PEM file, together with METRICS_TLS_CERT_FILE",
    parse: path,
  }),
  METRICS_BEARER_TOKEN_FILE: variable({
    help: "File with the token that scrapers send; read again when it changes. Of several lines each is a token.",
    accepts: "the path of a file",
    parse: path,
  }),
  METRICS_BASIC_AUTH_FILE: variable({
    help: "File with a line user:password for each that may scrape; read again when it changes.",
    accepts: "the path of a file",
    parse: path,
  }),
  MEMORY_LIMIT_BYTES: variable({
    help: "Memory that this process may have, where its limit cannot be seen, as with several services on one machine; alerts go by it. Unset: the control group's limit, or else the machine's memory.",
    accepts: "a whole number of bytes of at least 1000000",
    parse: wholeNumber(1_000_000, 999_999_999_999_999),
  }),
  SLOW_QUERY_MS: variable({
    help: "Statements that take longer are counted as slow and logged, without their values.",
    accepts: "a whole number of milliseconds from 1 to 3600000",
    default: "500",
    parse: milliseconds,
  }),
  SLOW_REQUEST_MS: variable({
    help: "Requests that take longer keep their trace and their log line; routes of transfers and inference have thresholds of their own.",
    accepts: "a whole number of milliseconds from 1 to 3600000",
    default: "1000",
    parse: milliseconds,
  }),
  SLOW_INFERENCE_MS: variable({
    help: "The same for inference, of which the time until its answer begins counts.",
    accepts: "a whole number of milliseconds from 1 to 3600000",
    default: "10000",
    parse: milliseconds,
  }),
  OTEL_SDK_DISABLED: variable({
    help: "true: no traces are recorded; those of callers are passed on to upstreams.",
    accepts: "true or false",
    default: "false",
    parse: trueOrFalse,
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: variable({
    help: "Where traces are sent, by OTLP over HTTP: Jaeger or an OpenTelemetry Collector.",
    accepts: "a URL like http://localhost:4318, to which /v1/traces is added",
    default: "http://localhost:4318",
    parse: urlOf("http:", "https:"),
  }),
  OTEL_EXPORTER_OTLP_HEADERS: variable({
    help: "Headers to send with them, as a token that the receiver asks for.",
    accepts: "name=value pairs separated by commas, values percent-encoded where they must be",
    secret: true,
    parse: parseHeaders,
  }),
  OTEL_TRACES_SAMPLER_ARG: variable({
    help: "Share of traces that are kept by chance. Those of requests that failed or were slow are kept besides.",
    accepts: "a number from 0 to 1",
    default: "0.01",
    parse: share,
  }),
  OTEL_SERVICE_NAME: variable({
    help: "Name of this service in traces.",
    accepts: "a text",
    default: "ectus",
    parse: (text) => (text === "" ? undefined : text),
  }),
  OTEL_RESOURCE_ATTRIBUTES: variable({
    help: "What traces say of this process besides, as deployment.environment.name=production.",
    accepts: "name=value pairs separated by commas, values percent-encoded where they must be",
    default: "",
    parse: parseAttributes,
  }),
  TRACE_TRUSTED_PEERS: variable({
    help: "Callers whose decision to keep a trace is believed: services of one's own, not proxies that pass on what clients send.",
    accepts: "IP addresses or CIDR ranges, separated by commas",
    default: "",
    parse: parseAddresses,
  }),
  LOG_SAMPLE: variable({
    help: "Which access lines are left out: of a route a share is logged, or so many lines a second. Errors, slow requests and those whose trace is kept always are.",
    accepts:
      "route=share or route=lines/s pairs separated by commas, as in /health/live=0.01,/v1/models=10/s; * is any other route",
    default: "/health/live=0.01,/health/ready=0.01",
    parse: parseLogSample,
  }),
  LOG_LEVEL: variable({
    help: "Least level that is logged, with exceptions by module.",
    accepts: acceptedLogLevels,
    default: "info",
    parse: parseLogLevels,
  }),
  LOG_FORMAT: variable({
    help: "json for machines, pretty for people, auto for pretty on a terminal and json elsewhere.",
    accepts: "json, pretty or auto",
    default: "auto",
    parse: oneOf("json", "pretty", "auto"),
  }),
} as const;

export type VariableName = keyof typeof variables;

type ValueOf<V> = V extends Variable<infer T> ? (V extends { default: string } ? T : T | undefined) : never;

/** The checked values, by the variables' names. */
export type Config = { readonly [Name in VariableName]: ValueOf<(typeof variables)[Name]> };

const isKnown = (name: string): name is VariableName => Object.hasOwn(variables, name);

/**
 * Reads and checks the configuration.
 *
 * @param environment usually `process.env`; it wins over the file
 * @param file path of a file of KEY=value lines, usually from ECTUS_CONFIG
 * @throws EctusError `invalid_config` that lists every fault
 */
export function loadConfig(environment: Environment, file?: string): Config {
  const faults: string[] = [];
  const fromFile = file === undefined ? {} : readConfigFile(file, faults);
  const config: { [Name in VariableName]?: unknown } = {};
  for (const [name, definition] of Object.entries(variables) as [VariableName, Variable<unknown>][]) {
    const text = environment[name] ?? fromFile[name] ?? definition.default;
    if (text === undefined) continue;
    const value = definition.parse(text);
    if (value === undefined) {
      const got = definition.secret
        ? "a value that is not shown because it is secret"
        : JSON.stringify(withoutUser(text));
      faults.push(`${name}: got ${got}, accepts ${definition.accepts}`);
    }
    config[name] = value;
  }
  faults.push(...contradictions(config as Partial<Config>));
  if (faults.length > 0) {
    throw new EctusError("invalid_config", { faults: faults.map((fault) => `  ${fault}`).join("\n") });
  }
  return config as Config;
}

/** A URL without the user and password in it, nor in one that it has as a parameter. */
const withoutUser = (text: string): string =>
  text.replace(/\/\/.*@/s, "//[secret]@").replace(/%2f%2f.*%40/is, "%2F%2F[secret]%40");

/** Faults of variables that are well by themselves. */
function contradictions(config: Partial<Config>): string[] {
  const faults: string[] = [];
  for (const [set, unset] of [
    ["METRICS_TLS_CERT_FILE", "METRICS_TLS_KEY_FILE"],
    ["METRICS_TLS_KEY_FILE", "METRICS_TLS_CERT_FILE"],
  ] as const) {
    if (config[set] !== undefined && config[unset] === undefined)
      faults.push(`${set}: got ${JSON.stringify(config[set])} alone, accepts ${variables[set].accepts}`);
  }
  const { HOST = "", PORT, METRICS_ENABLED, METRICS_HOST = HOST, METRICS_PORT } = config;
  if (METRICS_ENABLED && METRICS_PORT && METRICS_PORT === PORT && overlap(HOST, METRICS_HOST))
    faults.push(`METRICS_PORT: got "${METRICS_PORT}", which is PORT too, accepts another port`);
  return faults;
}

/** Whether one port cannot be listened on at both addresses. Names are not resolved. */
function overlap(one: string, other: string): boolean {
  const includes = (every: string, host: string): boolean =>
    every === host ||
    // IPv4, too, as Node.js listens there.
    every === "::" ||
    every === "::0" ||
    (every === "0.0.0.0" && !host.includes(":"));
  return includes(one, other) || includes(other, one);
}

function readConfigFile(file: string, faults: string[]): Environment {
  try {
    const values = parseEnv(readFileSync(file, "utf8"));
    for (const name of Object.keys(values)) {
      if (!isKnown(name))
        faults.push(
          `${name} (in ${file}): not a variable of this program, accepts ${Object.keys(variables).join(", ")}`,
        );
    }
    return values;
  } catch (error) {
    faults.push(
      `ECTUS_CONFIG: got ${JSON.stringify(file)}, which cannot be read (${errorMessage(error)}); accepts a file of KEY=value lines`,
    );
    return {};
  }
}

/** One row a variable, for people: name, value in force (secrets masked), where it comes from, help. */
export interface ConfigRow {
  readonly name: VariableName;
  readonly value: string;
  readonly source: "environment" | "file" | "default" | "unset";
  readonly help: string;
  readonly accepts: string;
}

/** Describes the configuration in force without any secret. */
export function describeConfig(environment: Environment, file?: string): ConfigRow[] {
  const fromFile = file === undefined ? {} : readConfigFile(file, []);
  return (Object.entries(variables) as [VariableName, Variable<unknown>][]).map(([name, definition]) => {
    const [text, source] =
      environment[name] !== undefined
        ? ([environment[name], "environment"] as const)
        : fromFile[name] !== undefined
          ? ([fromFile[name], "file"] as const)
          : definition.default !== undefined
            ? ([definition.default, "default"] as const)
            : (["", "unset"] as const);
    const value = definition.secret && text !== "" ? "[secret]" : withoutUser(text);
    return { name, value, source, help: definition.help, accepts: definition.accepts };
  });
}
