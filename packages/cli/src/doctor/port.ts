// Check of the port: it is free, or an instance answers there.

import { errorMessage } from "@ectus/core";
import { clientUrl } from "../client-url.ts";
import { tryPort } from "../try-port.ts";
import { type Check, fail, ok, warn } from "./check.ts";

const healthTimeoutMs = 3_000;

export async function checkPort(host: string, port: number): Promise<Check> {
  const name = "port";
  if (port === 0) return ok(name, "a free one is taken at start");
  const error = await tryPort(host, port);
  if (error === undefined) return ok(name, `${port} is free`);
  const choose = "Choose another with --port or PORT, or stop the program that has it.";
  if (error.code !== "EADDRINUSE")
    return fail(
      name,
      `cannot listen at ${host}:${port} (${errorMessage(error)})`,
      `${choose} Check HOST as well.`,
    );
  const url = clientUrl(host, `http://127.0.0.1:${port}`);
  const health = await askHealth(url);
  if (health === undefined) return fail(name, `${port} is used by another program`, choose);
  return health.ready
    ? ok(name, `an instance answers at ${url} and is ready`)
    : warn(name, `an instance answers at ${url} and is not ready: ${health.reasons}`, "Look at its log.");
}

interface Health {
  readonly ready: boolean;
  readonly reasons: string;
}

/** What an instance says of itself; undefined if that is none. */
async function askHealth(url: string): Promise<Health | undefined> {
  try {
    const answer = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(healthTimeoutMs) });
    const { status, checks } = (await answer.json()) as {
      status: unknown;
      checks: { name: string; ok: boolean; reason?: string }[];
    };
    if (status !== "ready" && status !== "not ready") return undefined;
    const reasons = checks.filter(({ ok: well }) => !well).map(({ name, reason }) => `${name}: ${reason}`);
    return { ready: status === "ready", reasons: reasons.join("; ") };
  } catch {
    return undefined;
  }
}
