// Reads the URL of an S3 storage: s3://bucket/prefix?region=…&endpoint=…&path_style=true.
import { EctusError } from "@ectus/core";

/** Where blobs are kept: which bucket of which server, and below what. */
export interface S3Place {
  readonly bucket: string;
  /** Empty, or ends in a slash. Every key begins with it. */
  readonly prefix: string;
  /** Undefined: the one that the environment or the SDK's files name. */
  readonly region?: string;
  /** Of a server other than AWS. */
  readonly endpoint?: string;
  /** Whether the bucket is in the path of a request and not in the server's name. */
  readonly pathStyle: boolean;
}

const example = "s3://bucket/prefix?region=eu-central-1&endpoint=https://s3.example.com&path_style=true";
const bucketName = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const prefixText = /^[\w!.*'()-]+(?:\/[\w!.*'()-]+)*$/;
// The longest key is 1,024 bytes, of which two ids with their slash take 73.
const longestPrefix = 900;

/** @throws EctusError `invalid_config` that names the part at fault; never repeats a user name or password */
export function parseS3Url(url: URL): S3Place {
  if (url.username !== "" || url.password !== "")
    throw fault(
      "credentials in the URL",
      "none there: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role",
    );
  if (!bucketName.test(url.hostname))
    throw fault(
      `the bucket ${JSON.stringify(url.hostname)}`,
      "3 to 63 lower-case letters, digits, dots and dashes",
    );
  if (url.port !== "" || url.hash !== "")
    throw fault("a port or a fragment", `a URL like ${example}; a port belongs to the endpoint`);
  const prefix = url.pathname.replace(/^\/+|\/+$/g, "");
  if (prefix !== "" && (!prefixText.test(prefix) || prefix.length > longestPrefix))
    throw fault(
      `the prefix ${JSON.stringify(prefix)}`,
      "letters, digits and !_.*'()- between single slashes, at most 900 characters",
    );
  const { region, endpoint, path_style: pathStyle = "false" } = parametersOf(url);
  if (region !== undefined && !/^[a-z0-9-]{1,64}$/.test(region))
    throw fault(`region=${JSON.stringify(region)}`, "a name like eu-central-1");
  if (endpoint !== undefined && !isEndpoint(endpoint))
    throw fault("the endpoint", "a URL like https://s3.example.com:9000, without credentials");
  if (pathStyle !== "true" && pathStyle !== "false")
    throw fault(`path_style=${JSON.stringify(pathStyle)}`, "true or false");
  return {
    bucket: url.hostname,
    prefix: prefix === "" ? "" : `${prefix}/`,
    pathStyle: pathStyle === "true",
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
  };
}

const parameterNames = ["region", "endpoint", "path_style"] as const;
type Parameters = { [Name in (typeof parameterNames)[number]]?: string };

function parametersOf(url: URL): Parameters {
  const found: Parameters = {};
  for (const [given, value] of url.searchParams) {
    const name = parameterNames.find((known) => known === given);
    if (name === undefined)
      throw fault(`the parameter ${JSON.stringify(given)}`, `only ${parameterNames.join(", ")}`);
    if (found[name] !== undefined) throw fault(`${name} twice`, "it once");
    found[name] = value;
  }
  return found;
}

function isEndpoint(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) return false;
  return [url.username, url.password, url.search, url.hash].every((part) => part === "");
}

function fault(got: string, accepts: string): EctusError {
  return new EctusError("invalid_config", { faults: `  STORAGE_URL: got ${got}, accepts ${accepts}` });
}
