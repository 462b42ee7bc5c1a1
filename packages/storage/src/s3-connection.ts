// A client of one bucket whose requests all end: each has a time limit for itself and one with its repetitions.
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { storageErrorOf } from "./s3-errors.ts";
import type { S3Place } from "./s3-url.ts";

/** Time limits, in milliseconds. */
export interface S3Timeouts {
  /** Until there is a connection. */
  readonly connectMs: number;
  /** From a request to the first of its answer, once. */
  readonly answerMs: number;
  /** The same for a request that carries part of a blob, 5 MiB or a little more. */
  readonly partMs: number;
  /** In which parts that are on their way may arrive when their write is given up. */
  readonly lastPartsMs: number;
  /** In which nothing of a blob arrives that is being waited for. */
  readonly idleMs: number;
}

export const defaultTimeouts: S3Timeouts = {
  connectMs: 5_000,
  answerMs: 30_000,
  partMs: 120_000,
  lastPartsMs: 1_000,
  idleMs: 60_000,
};

export interface RequestOptions {
  readonly abortSignal: AbortSignal;
  readonly requestTimeout: number;
}

export interface S3Connection {
  readonly place: S3Place;
  readonly client: S3Client;
  readonly timeouts: S3Timeouts;
  /**
   * Runs one request, repetitions included, within its time. Throws what the SDK throws.
   *
   * @param answerMs for each try; twice that for all of them
   */
  ask<T>(
    request: (options: RequestOptions) => Promise<T>,
    answerMs?: number,
    signal?: AbortSignal,
  ): Promise<T>;
}

// Every blob that is being read holds one.
const maxSockets = 512;

export function connectS3(
  place: S3Place,
  environment: NodeJS.ProcessEnv,
  timeouts: S3Timeouts,
): S3Connection {
  const client = new S3Client({
    ...regionOf(place, environment),
    ...credentialsOf(environment),
    ...(place.endpoint === undefined ? {} : { endpoint: place.endpoint }),
    forcePathStyle: place.pathStyle,
    maxAttempts: 3,
    retryMode: "standard",
    requestChecksumCalculation: "WHEN_SUPPORTED",
    // The server knows a checksum of the whole only of blobs of one part; write's digest is for all of them.
    responseChecksumValidation: "WHEN_REQUIRED",
    // It would take a new connection for each part.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: timeouts.connectMs,
      requestTimeout: timeouts.answerMs,
      throwOnRequestTimeout: true,
      // It would also count while the reader of a blob is the one who pauses; S3ReadStream knows.
      socketTimeout: 0,
      httpAgent: { keepAlive: true, maxSockets },
      httpsAgent: { keepAlive: true, maxSockets },
    },
  });
  client.middlewareStack.add(
    (next) => (args) => {
      signGivenDigest(args.request);
      return next(args);
    },
    { step: "build", name: "signGivenDigest" },
  );

  return {
    place,
    client,
    timeouts,
    async ask(request, answerMs = timeouts.answerMs, signal = undefined) {
      const deadline = new AbortController();
      const totalMs = 2 * answerMs;
      // Cleared when the answer has begun: what follows of a blob may take its time.
      const timer = setTimeout(() => deadline.abort(new Error(`no answer within ${totalMs} ms`)), totalMs);
      try {
        return await request({
          abortSignal: signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, signal]),
          requestTimeout: answerMs,
        });
      } catch (error) {
        throw deadline.signal.aborted ? deadline.signal.reason : error;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Runs work that fails only because of the server or the network, and gives such a failure its code. */
export async function onS3<T>(place: S3Place, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw storageErrorOf(error, place);
  }
}

/** The signature covers the body's SHA-256, which need not be computed again if it is sent as the checksum. */
function signGivenDigest(request: unknown): void {
  const { method, headers } = request as {
    readonly method: string;
    readonly headers: Record<string, string>;
  };
  const checksum = headers["x-amz-checksum-sha256"];
  if (method === "PUT" && checksum !== undefined)
    headers["x-amz-content-sha256"] = Buffer.from(checksum, "base64").toString("hex");
}

function regionOf(place: S3Place, environment: NodeJS.ProcessEnv): Pick<S3ClientConfig, "region"> {
  // Servers other than AWS want any name, and most are set up with this one.
  const fallback = place.endpoint === undefined ? undefined : "us-east-1";
  const region = place.region ?? (environment.AWS_REGION || environment.AWS_DEFAULT_REGION || fallback);
  return region === undefined ? {} : { region };
}

/** Those of `environment`; without any, the SDK looks into its files, and asks for those of a role. */
function credentialsOf(environment: NodeJS.ProcessEnv): Pick<S3ClientConfig, "credentials"> {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
    AWS_PROFILE: profile,
  } = environment;
  if (profile || !accessKeyId || !secretAccessKey) return {};
  return { credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) } };
}
