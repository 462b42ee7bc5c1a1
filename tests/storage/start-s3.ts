// A real S3 server for tests: Versity's gateway over a temporary folder, on a free port of its own, with one bucket.
// It can be killed and started again on the same port with what it holds.
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFreePort } from "../free-port.ts";
import { until } from "../postgres/until.ts";

export interface S3Server {
  readonly bucket: string;
  /** As `endpoint` in STORAGE_URL. */
  readonly endpoint: string;
  /** The folder of the bucket, where each object is a file. */
  readonly folder: string;
  /** The credentials, as environment variables. */
  readonly environment: {
    readonly AWS_ACCESS_KEY_ID: string;
    readonly AWS_SECRET_ACCESS_KEY: string;
  };
  /**
   * A STORAGE_URL of the bucket.
   *
   * @param change the prefix, and another endpoint such as that of a proxy
   */
  url(change?: { readonly prefix?: string; readonly endpoint?: string }): string;
  /** Resolves when nothing listens any more. */
  kill(): Promise<void>;
  /** @param change what it refuses from now on: writes, or the access key */
  start(change?: { readonly readOnly?: boolean; readonly revoked?: boolean }): Promise<void>;
  stop(): Promise<void>;
}

/**
 * @param program versitygw, as `peer("versitygw")` gives it
 * @param root the folder of its buckets; by default a temporary one, as is what else it needs
 */
export async function startS3(program: string, root?: string): Promise<S3Server> {
  const base = await mkdtemp(join(tmpdir(), "ectus-s3-"));
  const buckets = root ?? join(base, "root");
  const sidecar = join(base, "metadata");
  const bucket = "ectus-test";
  const folder = join(buckets, bucket);
  await mkdir(folder, { recursive: true });
  await mkdir(sidecar);
  const port = await findFreePort();
  const environment = {
    AWS_ACCESS_KEY_ID: `key${randomBytes(8).toString("hex")}`,
    AWS_SECRET_ACCESS_KEY: randomBytes(20).toString("hex"),
  };
  const endpoint = `http://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;

  async function start({ readOnly = false, revoked = false } = {}): Promise<void> {
    const options = ["--port", `127.0.0.1:${port}`, "--keep-alive", ...(readOnly ? ["--readonly"] : [])];
    // Beside the objects and not in extended attributes, which not every file system has.
    const args = [...options, "posix", "--sidecar", sidecar, buckets];
    const started = spawn(program, args, {
      env: {
        ROOT_ACCESS_KEY: revoked ? "another-key" : environment.AWS_ACCESS_KEY_ID,
        ROOT_SECRET_KEY: environment.AWS_SECRET_ACCESS_KEY,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child = started;
    let log = "";
    for (const stream of [started.stdout, started.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        log = (log + text).slice(-10_000);
      });
    await until(
      async () => {
        if (started.exitCode !== null) throw new Error(`versitygw ended with ${started.exitCode}: ${log}`);
        return listens(port);
      },
      30_000,
      20,
    );
  }

  async function kill(): Promise<void> {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "close");
    child.kill("SIGKILL");
    await ended;
  }

  const stop = async (): Promise<void> => {
    await kill();
    await rm(base, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    bucket,
    endpoint,
    folder,
    environment,
    url({ prefix = "", endpoint: other = endpoint } = {}) {
      const query = new URLSearchParams({ region: "us-east-1", endpoint: other, path_style: "true" });
      return `s3://${bucket}/${prefix}?${query}`;
    },
    kill,
    start,
    stop,
  };
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
