// What failed with an S3 server, in words that say what to do. What the SDK throws has the server's code as its name.
import { EctusError, errorMessage } from "@ectus/core";
import type { S3Place } from "./s3-url.ts";

/** @returns `storage_full`, or `storage_error` with a reason that holds no secret */
export function storageErrorOf(error: unknown, place: S3Place): EctusError {
  if (error instanceof EctusError) return error;
  const cause = causeOf(error);
  if (fullCodes.has(codeOf(error)) || statusOf(error) === 507)
    return new EctusError("storage_full", {}, { cause });
  return new EctusError("storage_error", { reason: reasonOf(error, place) }, { cause });
}

/** The code that the server gave, such as NoSuchKey; the SDK's own or Node.js' if no server answered. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const { code } = error as NodeJS.ErrnoException;
  return statusOf(error) === undefined && typeof code === "string" ? code : error.name;
}

/** The status of the answer; undefined if there was none. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("$metadata" in error)) return undefined;
  const { httpStatusCode } = error.$metadata as { readonly httpStatusCode?: number };
  return httpStatusCode;
}

const fullCodes = new Set([
  "QuotaExceeded",
  "QuotaExceededException",
  "InsufficientStorage",
  "XMinioStorageFull",
  "XMinioAdminBucketQuotaExceeded",
]);

const versitygwUnknownKey = "XAdminUserNotFound";
const deniedCodes = new Set(["AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem"]);
const damagedCodes = new Set([
  "BadDigest",
  "InvalidDigest",
  "XAmzContentSHA256Mismatch",
  "XAmzContentChecksumMismatch",
  "ContentSHA256Mismatch",
  "IncompleteBody",
]);
const regionCodes = new Set([
  "PermanentRedirect",
  "TemporaryRedirect",
  "AuthorizationHeaderMalformed",
  "IllegalLocationConstraintException",
]);
const credentialsCodes = new Set(["CredentialsProviderError", "TokenProviderError"]);

function reasonOf(error: unknown, place: S3Place): string {
  const bucket = `the bucket ${place.bucket}`;
  const code = codeOf(error);
  const status = statusOf(error);
  if (code === "NoSuchBucket") return `${bucket} does not exist; create it, or name another in STORAGE_URL`;
  if (code === "InvalidAccessKeyId" || code === versitygwUnknownKey)
    return "the S3 server does not know the access key; check AWS_ACCESS_KEY_ID";
  if (code === "SignatureDoesNotMatch")
    return "the secret key does not fit the access key; check AWS_SECRET_ACCESS_KEY";
  if (code === "ExpiredToken" || code === "InvalidToken")
    return "the session's token is not valid any more; renew AWS_SESSION_TOKEN or the role's credentials";
  if (code === "RequestTimeTooSkewed")
    return "this machine's clock and the S3 server's differ too much; set the clock";
  if (regionCodes.has(code) || status === 301)
    return `${bucket} is in another region, or has to be asked elsewhere; set region and endpoint in STORAGE_URL`;
  if (damagedCodes.has(code))
    return `what arrived at the S3 server was damaged on its way (${code}); try again`;
  if (deniedCodes.has(code) || status === 403)
    return `this access to ${bucket} is denied; allow s3:ListBucket, s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts`;
  if (status === 404) return `${bucket} or what is asked of it does not exist (${code})`;
  if (credentialsCodes.has(code))
    return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this process a role";
  const message = brief(errorMessage(error));
  if (message.includes("Region is missing")) return `no region is known; add region=… to STORAGE_URL`;
  if (status !== undefined) return `the S3 server answered ${status} ${code}: ${message}`;
  return `${place.endpoint ?? "the S3 server"} cannot be reached for ${bucket}, or broke off (${message}); check endpoint and path_style in STORAGE_URL, and the network`;
}

// The whole error of the SDK has the answer with it, and that what was signed.
function causeOf(error: unknown): unknown {
  return statusOf(error) === undefined ? error : new Error(`${codeOf(error)}: ${brief(errorMessage(error))}`);
}

function brief(message: string): string {
  return message.replace(/[.\s]+$/, "").slice(0, 300);
}
