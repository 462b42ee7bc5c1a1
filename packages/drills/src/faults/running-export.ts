// A tenant asks for all that it has, as in the API's documents.
import { randomBytes } from "node:crypto";
import type { Instance } from "../rig/instance.ts";
import { waitFor } from "../timeline.ts";

// Some seconds' worth for a worker that is held to a megabyte a second.
const fileBytes = 4_000_000;
const beginsWithinMs = 60_000;

/** Resolves when a worker is at an export of the tenant. */
export async function startExport({ url, tenant }: Instance, signal: AbortSignal): Promise<void> {
  const form = new FormData();
  form.set("purpose", "user_data");
  form.set("file", new Blob([randomBytes(fileBytes)]), "drill.bin");
  await ask(`${url}/v1/files`, { method: "POST", key: tenant.key, body: form, signal });
  const exported = await ask(`${url}/v1/exports`, { method: "POST", key: tenant.adminKey, signal });
  let state = "";
  await waitFor({
    what: "An export runs",
    expected: "a worker that has taken it up",
    withinMs: beginsWithinMs,
    signal,
    async ask() {
      const found = await ask(`${url}/v1/exports/${exported.id}`, {
        method: "GET",
        key: tenant.adminKey,
        signal,
      });
      state = String(found.state);
      return state === "running" ? true : undefined;
    },
    seen: async () => state,
  });
}

interface Call {
  readonly method: string;
  readonly key: string;
  readonly body?: FormData;
  readonly signal: AbortSignal;
}

async function ask(url: string, { method, key, body, signal }: Call): Promise<Record<string, unknown>> {
  const headers = { authorization: `Bearer ${key}` };
  const answer = await fetch(url, { method, headers, signal, ...(body === undefined ? {} : { body }) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url} was answered with ${answer.status}: ${text}`);
  return JSON.parse(text);
}
