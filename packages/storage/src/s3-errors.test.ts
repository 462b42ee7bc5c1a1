import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import { storageErrorOf } from "./s3-errors.ts";

const place = { bucket: "files", prefix: "", pathStyle: false };

/** As the SDK throws what a server answered. */
function answered(name: string, httpStatusCode: number, more: object = {}): Error {
  return Object.assign(new Error(`told by ${name}.`), { name, $metadata: { httpStatusCode }, ...more });
}

test.each([
  ["QuotaExceeded", 403],
  ["InsufficientStorage", 507],
  ["XMinioStorageFull", 507],
  ["SomethingElse", 507],
])("%s with status %i is a full storage", (name, status) => {
  expect(storageErrorOf(answered(name, status), place)).toMatchObject({ code: "storage_full", status: 507 });
});

test.each([
  ["NoSuchBucket", 404, "the bucket files does not exist; create it"],
  ["AccessDenied", 403, "is denied; allow s3:ListBucket"],
  ["UnknownError", 403, "is denied; allow s3:ListBucket"],
  ["InvalidAccessKeyId", 403, "check AWS_ACCESS_KEY_ID"],
  ["SignatureDoesNotMatch", 403, "check AWS_SECRET_ACCESS_KEY"],
  ["ExpiredToken", 400, "renew AWS_SESSION_TOKEN"],
  ["RequestTimeTooSkewed", 403, "set the clock"],
  ["PermanentRedirect", 301, "set region and endpoint"],
  ["BadDigest", 400, "damaged on its way (BadDigest)"],
  ["NotFound", 404, "does not exist (NotFound)"],
  ["SlowDown", 503, "the S3 server answered 503 SlowDown: told by SlowDown."],
])("%s with status %i says what to do", (name, status, told) => {
  const error = storageErrorOf(answered(name, status), place);
  expect(error).toMatchObject({ code: "storage_error", status: 500 });
  expect(error.message).toContain(told);
});

test("a network that fails is told with the endpoint that was asked", () => {
  const refused = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:9"), { code: "ECONNREFUSED" });
  const error = storageErrorOf(refused, { ...place, endpoint: "http://127.0.0.1:9" });
  expect(error.message).toContain("http://127.0.0.1:9 cannot be reached for the bucket files");
  expect(error.message).toContain("ECONNREFUSED");
});

test("a region that nobody names is asked for", () => {
  expect(storageErrorOf(new Error("Region is missing"), place).message).toContain("add region=");
});

test("what the server says of the signature is not kept", () => {
  const error = storageErrorOf(
    answered("SignatureDoesNotMatch", 403, { StringToSign: "signed", AWSAccessKeyId: "key" }),
    place,
  );
  expect(JSON.stringify([error.message, error.cause, Object.entries(error.cause as object)])).not.toMatch(
    /signed|key"/,
  );
});

test("an error that has its code keeps it", () => {
  const error = new EctusError("not_found", { what: "file" });
  expect(storageErrorOf(error, place)).toBe(error);
});
