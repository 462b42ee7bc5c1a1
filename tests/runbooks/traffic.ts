// What an instance has seen before somebody on call looks at it: requests that went well, that failed in every way that
// the platform tells apart, and an export. Most counters have no series before that.
import { chatModel, embeddingModel, fallbackModel, type Instance } from "../monitoring/start-instance.ts";
import { until } from "../postgres/until.ts";

/** Resolves with the request id of a chat that went well. */
export async function driveTraffic(instance: Instance): Promise<string> {
  const { upstream } = instance;
  upstream.always({ usage: { prompt_tokens: 11, completion_tokens: 5 } });
  for (const stream of [false, true, true]) await chat(instance, chatModel, { stream });
  await chat(instance, fallbackModel);
  await send(instance, "/v1/embeddings", { model: embeddingModel, input: "Hi" });
  await send(instance, "/v1/models");
  await send(instance, "/nowhere");
  upstream.next({ status: 500 });
  await chat(instance, chatModel);
  upstream.next({ reset: "mid-stream" });
  await chat(instance, chatModel, { stream: true });
  const answer = await chat(instance, chatModel);
  return answer.headers.get("x-request-id") ?? "";
}

async function chat(instance: Instance, model: string, more: object = {}): Promise<Response> {
  return send(instance, "/v1/chat/completions", {
    model,
    messages: [{ role: "user", content: "Hi" }],
    ...more,
  });
}

async function send({ url, key }: Instance, path: string, body?: object): Promise<Response> {
  const answer = await fetch(url + path, {
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
  });
  // A stream that breaks is what is wanted of it.
  await answer.text().catch(() => "");
  return answer;
}

export interface TestTenant {
  readonly id: string;
  readonly keyId: string;
}

/** A tenant that a runbook may do anything to, with a key. */
export async function makeTenant(instance: Instance, name: string): Promise<TestTenant> {
  const { id } = await askOperator<{ id: string }>(instance, "", { name });
  const key = await askOperator<{ id: string }>(instance, `/${id}/keys`, {
    name: "web shop",
    scopes: ["inference", "admin"],
  });
  return { id, keyId: key.id };
}

/** Resolves with the id of an export of the tenant that is ready. */
export async function makeExport(instance: Instance, { id: tenantId }: TestTenant): Promise<string> {
  const { id } = await askOperator<{ id: string }>(instance, `/${tenantId}/exports`, {});
  await until(
    async () =>
      (await askOperator<{ state: string }>(instance, `/${tenantId}/exports/${id}`)).state === "ready",
    60_000,
    100,
  );
  return id;
}

async function askOperator<T>(instance: Instance, path: string, body?: object): Promise<T> {
  const answer = await fetch(`${instance.url}/admin/tenants${path}`, {
    headers: { authorization: `Bearer ${instance.operatorKey}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`${path} was answered with ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as T;
}
