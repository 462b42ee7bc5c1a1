// A corpus of secrets and personal data goes through every route, error path and log call of a running instance, at the
// most talkative level and with every trace kept. Nothing of it may be in what the process prints, in the traces that
// a real Jaeger has of it, or in its metrics.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createApiKey } from "@ectus/core";
import { peer } from "@ectus/peers";
import { openStorage } from "@ectus/storage";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rawConnection } from "../api/raw-http.ts";
import { makeReadyExport } from "../api/ready-export.ts";
import type { Behavior } from "../openai-upstream/behavior.ts";
import { startUpstream } from "../openai-upstream/upstream.ts";
import { type StallingProxy, startStallingProxy } from "../postgres/stalling-proxy.ts";
import { createTestDatabase } from "../postgres/test-database.ts";
import { until } from "../postgres/until.ts";
import {
  type Answer,
  documentedRoutes,
  nameOf,
  type Place,
  type Pushed,
  pushElsewhere,
  pushMalformed,
  pushThroughRoutes,
  pushUnreadablePaths,
  type Route,
  send,
  type Target,
} from "./push-corpus.ts";
import { scrapeMetrics } from "./read-metrics.ts";
import { createCorpus, findLeaks, recognizable, type Sensitive } from "./sensitive-corpus.ts";
import { chatModel, embeddingModel, type Instance, startInstance } from "./start-instance.ts";
import { type Jaeger, startJaeger } from "./start-jaeger.ts";

const jaegerPrograms = await peer("jaeger");
const main = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;

const corpus: Sensitive[] = createCorpus();
const textOf = (wanted: string): string => corpus.find(({ name }) => name === wanted)?.text ?? "";
const upstreamKey = textOf("a key of OpenAI's");
const everything = corpus.map(({ text }) => text).join(" | ");
/** As an upstream does that helps its users too much. */
const quoting = `Incorrect API key provided: ${upstreamKey}. Authorization: Bearer ${upstreamKey}. Prompt: ${textOf("a prompt")} | ${everything}`;
const quotingJson = JSON.stringify(quoting);

/** How an upstream may fail, by the model that does. */
const upstreamFaults: Readonly<Record<string, Behavior>> = {
  ...Object.fromEntries(
    [400, 401, 403, 404, 413, 422, 429, 500, 503].map((status) => [
      `status-${status}`,
      { status, errorMessage: quoting, retryAfter: textOf("e-mail address 1") },
    ]),
  ),
  "no-json": { raw: `{"choices": ${quoting}` },
  "other-json": { raw: `{"object":"list","data":[${quotingJson}],${quotingJson}:1}` },
  "other-type": { raw: quoting, contentType: "text/html" },
  "error-event": { errorEvent: { as: "event", message: quoting } },
  "error-data": { errorEvent: { as: "data", message: quoting } },
  "chunk-no-json": { content: [everything, "rest"], raw: `data: {${quoting.replaceAll("\n", " ")}\n\n` },
  truncated: { content: [everything, everything], truncate: true },
  reset: { content: [everything, everything], reset: "mid-stream" },
  "half-chunk": { content: [everything, everything], reset: "half-chunk" },
  "no-end": { content: [everything], done: false, finishReason: false },
};

interface Observed {
  readonly stdout: string;
  readonly stderr: string;
  /** The answers of Jaeger's query API. */
  readonly traces: string;
  readonly metrics: string;
}

describe.skipIf(!jaegerPrograms)("what requests bring", () => {
  const started = new AsyncDisposableStack();
  let instance: Instance;
  let routes: readonly Route[];
  let pushed: readonly Pushed[];
  let elsewhere: readonly Answer[];
  let unreadable: readonly Answer[];
  let malformed: readonly string[];
  let faulty: readonly Answer[];
  let refusedByDatabase: readonly Answer[];
  let withoutDatabase: readonly Answer[];
  let commands: string;
  let observed: Observed;

  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), "ectus-secrets-"));
    started.defer(() => rm(folder, { recursive: true, force: true }));
    const database = await createTestDatabase();
    started.defer(() => database.drop());
    const proxy = await startStallingProxy(database.appUrl);
    started.defer(() => proxy.close());
    const upstream = await startUpstream({ content: [textOf("a completion"), everything] });
    started.defer(() => upstream.close());
    for (const [name, behavior] of Object.entries(upstreamFaults)) upstream.forModel(name, behavior);
    const providersFile = join(folder, "providers.yaml");
    await writeFile(providersFile, JSON.stringify(providersOf(upstream.baseUrl)));
    const jaeger = await startJaeger({ program: jaegerPrograms?.files.jaeger as string });
    started.defer(() => jaeger.stop());
    const apiKeySecret = createApiKey() + createApiKey();
    corpus.push(recognizable("API_KEY_SECRET", apiKeySecret));
    instance = await startInstance({
      DATABASE_URL: proxy.through(database.appUrl),
      DATABASE_OWNER_URL: database.ownerUrl,
      AI_PROVIDERS: providersFile,
      STORAGE_URL: pathToFileURL(join(folder, "files")).href,
      API_KEY_SECRET: apiKeySecret,
      LOG_LEVEL: "trace",
      SLOW_QUERY_MS: "1",
      OTEL_TRACES_SAMPLER_ARG: "1",
      OTEL_EXPORTER_OTLP_ENDPOINT: jaeger.otlpUrl,
      OTEL_EXPORTER_OTLP_HEADERS: `authorization=${encodeURIComponent(textOf("a bearer token"))}`,
    });
    started.defer(() => instance.stop());
    const owner = new pg.Client({ connectionString: database.ownerUrl });
    await owner.connect();
    started.defer(() => owner.end());

    const storage = await openStorage(pathToFileURL(join(folder, "files")).href);
    const readyExport = async (tenantId: string): Promise<string> => {
      const sql = async <Row extends object>(text: string, values: readonly unknown[] = []) =>
        (await owner.query(text, [...values])).rows as Row[];
      return (await makeReadyExport({ sql, serverOptions: { storage } }, tenantId)).id;
    };
    const target = await prepareTarget(instance, readyExport);
    routes = await documentedRoutes(instance.url);
    pushed = await pushThroughRoutes(target, routes);
    elsewhere = await pushElsewhere(target);
    unreadable = await pushUnreadablePaths(target);
    malformed = await pushMalformed(target);
    faulty = await pushThroughUpstreamFaults(target);
    await leaveInMidStream(target);
    await makeDatabaseRefuse(owner);
    refusedByDatabase = await pushIntoDatabase(target);
    commands = await runCommands(database.appUrl, folder);
    withoutDatabase = await pushWhileDatabaseBreaks(target, proxy);
    await spansAreExported(instance);
    const metrics = await allFormats(instance);
    const traces = await allTraces(jaeger);
    for (const { route, text, status } of pushed)
      if (route === "POST /admin/tenants/:tenantId/keys" && status === 201)
        corpus.push(recognizable("a key that was made", JSON.parse(text).key));
    await instance.stop();
    observed = { stdout: instance.stdout(), stderr: instance.stderr(), traces, metrics };
  }, 150_000);
  afterAll(() => started.disposeAsync());

  test("was sent to every route, with keys that open it and with others", () => {
    expect(routes.length).toBeGreaterThan(20);
    for (const route of routes) {
      const name = nameOf(route);
      const here = pushed.filter((one) => one.route === name);
      const statuses = (place: Place): number[] =>
        here.flatMap((one) => (one.place === place ? [one.status] : []));
      // Some of the keys among these texts are good ones.
      if (!/^\/(health\/|v1\/signing-keys)/.test(route.path)) {
        expect(statuses("credentials").filter((status) => status === 401).length, name).toBeGreaterThan(30);
      }
      expect(
        here.some(({ status }) => status >= 200 && status < 300),
        name,
      ).toBe(true);
      expect(
        here.filter(({ status }) => status >= 500),
        name,
      ).toEqual([]);
    }
  });

  test("was sent to what is not there, and in what cannot be read", () => {
    const statuses = new Set(elsewhere.map(({ status }) => status));
    for (const status of [200, 404, 405]) expect(statuses).toContain(status);
    expect(new Set(unreadable.map(({ status }) => status))).toEqual(new Set([400, 404]));
    for (const status of [400, 404, 431])
      expect(malformed.some((line) => line.includes(` ${status} `))).toBe(true);
    expect(malformed.filter((line) => line !== "").length).toBeGreaterThan(malformed.length / 2);
  });

  test("came back in errors of upstreams, and in rows that the database refused", () => {
    // The client, whose prompt it is, gets to see what the upstream said.
    expect(
      faulty.filter(({ text }) => text.includes(textOf("a second personal name"))).length,
    ).toBeGreaterThan(5);
    for (const status of [400, 429, 502])
      expect(
        faulty.some((answer) => answer.status === status),
        `${status}`,
      ).toBe(true);
    expect(faulty.some(({ status, text }) => status === 200 && text.includes("stream_interrupted"))).toBe(
      true,
    );
    expect(refusedByDatabase.filter(({ status }) => status === 500).length).toBeGreaterThan(100);
    expect(withoutDatabase.some(({ status }) => status === 503)).toBe(true);
  });

  test("was logged about and traced: a line and a trace for each of these requests", () => {
    const lines = observed.stdout
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
    const logged = new Set(lines.flatMap(({ msg, requestId }) => (msg === "request" ? [requestId] : [])));
    const traced = new Set([...observed.traces.matchAll(/"traceId":"([0-9a-f]{32})"/g)].map(([, id]) => id));
    const all = [...pushed, ...elsewhere, ...faulty, ...refusedByDatabase, ...withoutDatabase];
    expect(all.length).toBeGreaterThan(4_000);
    // What reaches no route has no trace.
    expect([...all, ...unreadable].filter(({ requestId }) => !logged.has(requestId))).toEqual([]);
    const traceOf = new Map(lines.map(({ requestId, traceId }) => [requestId, traceId]));
    expect(all.filter(({ requestId }) => !traced.has(traceOf.get(requestId)))).toEqual([]);
    for (const route of routes) expect(observed.traces).toContain(`"name":"${nameOf(route)}"`);
    for (const level of ["info", "warn", "error"])
      expect(
        lines.some((line) => line.level === level),
        level,
      ).toBe(true);
    expect(lines.some(({ msg }) => msg === "slow statement")).toBe(true);
    expect(observed.metrics).toMatch(/# \{trace_id="[0-9a-f]{32}"\}/);
  });

  test.each(["stdout", "stderr", "traces", "metrics"] as const)(
    "is not in the %s of the process",
    (where) => {
      expect(observed[where].length).toBeGreaterThan(where === "stderr" ? -1 : 10_000);
      expect(findLeaks(observed[where], corpus)).toEqual([]);
    },
  );

  test("is not in what commands log", () => {
    expect(commands).not.toBe("");
    expect(findLeaks(commands, corpus)).toEqual([]);
  });
});

function providersOf(baseUrl: string): object {
  const provider = { type: "openai", baseUrl, apiKey: upstreamKey, headers: { "x-team": textOf("a JWT") } };
  const faults = Object.keys(upstreamFaults);
  const chat = (name: string, model: string) => ({
    operations: ["chat"],
    routes: [{ provider: name, model }],
  });
  return {
    // Each fault has a provider of its own: one that fails is not asked for a while.
    providers: Object.fromEntries([
      ["double", { ...provider, retries: 0 }],
      ...faults.map((name) => [`double-${name}`, { ...provider, retries: name === "status-503" ? 1 : 0 }]),
    ]),
    models: {
      [chatModel]: chat("double", "upstream-chat"),
      [embeddingModel]: {
        operations: ["embeddings"],
        routes: [{ provider: "double", model: "upstream-embedding" }],
      },
      ...Object.fromEntries(faults.map((name) => [name, chat(`double-${name}`, name)])),
    },
  };
}

const json = (key: string): Record<string, string> => ({
  authorization: `Bearer ${key}`,
  "content-type": "application/json",
});

/** A tenant with keys, a file, a stored completion and an export, and others of each that are there to be deleted. */
async function prepareTarget(
  { url, key, operatorKey }: Instance,
  readyExport: (tenantId: string) => Promise<string>,
): Promise<Target> {
  const post = async (path: string, by: string, body: object): Promise<{ id: string; key: string }> => {
    const answer = await send(url, { method: "POST", path, headers: json(by), body: JSON.stringify(body) });
    if (answer.status >= 300) throw new Error(`${path} was answered with ${answer.status}: ${answer.text}`);
    return JSON.parse(answer.text);
  };
  const upload = async (by: string): Promise<string> => {
    const body = new FormData();
    body.set("purpose", "batch");
    body.set("file", new File([textOf("contents of a file")], textOf("a file's name")));
    const answer = await fetch(`${url}/v1/files`, {
      method: "POST",
      headers: { authorization: `Bearer ${by}` },
      body,
    });
    return ((await answer.json()) as { id: string }).id;
  };
  const tenant = await post("/admin/tenants", operatorKey, { name: textOf("a tenant's name") });
  // Of one tenant only some exports are made at a time.
  const exported = await post("/admin/tenants", operatorKey, { name: textOf("a tenant's name") });
  const keys = `/admin/tenants/${tenant.id}/keys`;
  const name = textOf("a personal name");
  const inference = await post(keys, operatorKey, { name, scopes: ["inference"] });
  const admin = await post(keys, operatorKey, { name, scopes: ["inference", "admin"] });
  const revoked = await post(keys, operatorKey, { name });
  corpus.push(
    recognizable("the demo tenant's key", key),
    recognizable("the operator's key", operatorKey),
    recognizable("a tenant's key", inference.key),
    recognizable("a tenant's admin key", admin.key),
    recognizable("a revoked key", revoked.key),
  );
  const complete = async (): Promise<string> => {
    const messages = [{ role: "user", content: textOf("a prompt") }];
    return (await post("/v1/chat/completions", inference.key, { model: chatModel, messages, store: true }))
      .id;
  };
  const [file, completion, ofTenant] = ["/v1/files/:id", "/v1/chat/completions/:id", "/v1/exports/:id"];
  const ofOperator = "/admin/tenants/:tenantId/exports";
  return {
    url,
    corpus,
    keys: { inference: inference.key, admin: admin.key, operator: operatorKey },
    chatModel,
    embeddingModel,
    ids: {
      "/v1/models :id": chatModel,
      "/v1/files :id": await upload(inference.key),
      "/v1/chat/completions :id": await complete(),
      "/v1/exports :id": await readyExport(tenant.id),
      "*": "bagit.txt",
      "/admin/tenants :tenantId": tenant.id,
      "/admin/tenants :id": await readyExport(tenant.id),
      [`POST ${ofOperator} :tenantId`]: exported.id,
      "/admin/tenants :keyId": revoked.id,
      [`DELETE ${file} :id`]: await upload(inference.key),
      [`DELETE ${completion} :id`]: await complete(),
      [`DELETE ${ofTenant} :id`]: await readyExport(tenant.id),
      [`DELETE ${ofOperator}/:id :id`]: await readyExport(tenant.id),
    },
  };
}

/** Calls of upstreams that fail in all ways. */
async function pushThroughUpstreamFaults({ url, keys }: Target): Promise<Answer[]> {
  const answers: Answer[] = [];
  const messages = [{ role: "user", content: everything }];
  for (const model of Object.keys(upstreamFaults)) {
    for (const stream of [false, true]) {
      const body = JSON.stringify({ model, messages, stream, store: true, user: textOf("a personal name") });
      answers.push(
        await send(url, {
          method: "POST",
          path: "/v1/chat/completions",
          headers: json(keys.inference),
          body,
        }),
      );
    }
  }
  return answers;
}

/** A client that goes away within an answer. */
async function leaveInMidStream({ url, keys }: Target): Promise<void> {
  const body = JSON.stringify({
    model: chatModel,
    messages: [{ role: "user", content: everything }],
    stream: true,
  });
  const connection = await rawConnection(url);
  connection.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${keys.inference}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  await connection.until(/data: /);
  connection.socket.destroy();
}

/** From now on rows are refused, with errors that quote them in all the ways in which PostgreSQL does. */
async function makeDatabaseRefuse(owner: pg.Client): Promise<void> {
  await owner.query(`
    create function refuse_row() returns trigger language plpgsql as $$
      begin
        raise exception 'refused: %', row_to_json(new) using detail = row_to_json(new)::text, hint = row_to_json(new)::text;
      end $$;
    create trigger refuse before insert on completions for each row execute function refuse_row();
    alter table files add constraint refused check (bytes < 0) not valid;
    alter table api_keys add constraint name_is_number check (name::integer > 0) not valid;
    create unique index one_name on tenants (name) where name like 'twice %';
  `);
}

/** Rows that the database refuses, each for a reason of its own. */
async function pushIntoDatabase(target: Target): Promise<Answer[]> {
  const { url, keys, ids } = target;
  const answers: Answer[] = [];
  const tenant = ids["/admin/tenants :tenantId"];
  for (const { text } of target.corpus) {
    const post = async (path: string, by: string, body: object): Promise<void> => {
      answers.push(await send(url, { method: "POST", path, headers: json(by), body: JSON.stringify(body) }));
    };
    const metadata = { note: text.slice(0, 512) };
    await post("/v1/chat/completions", keys.inference, {
      model: chatModel,
      messages: [{ role: "user", content: text }],
      store: true,
      metadata,
    });
    await post(`/admin/tenants/${tenant}/keys`, keys.operator, { name: text.slice(0, 200) });
    for (let count = 0; count < 2; count += 1)
      await post("/admin/tenants", keys.operator, { name: `twice ${text.slice(0, 150)}` });
    const form = new FormData();
    form.set("purpose", "batch");
    form.set("file", new File([text], text.replaceAll("\n", " ")));
    const headers = { authorization: `Bearer ${keys.inference}` };
    const uploaded = await fetch(`${url}/v1/files`, { method: "POST", headers, body: form });
    const requestId = uploaded.headers.get("x-request-id") ?? "";
    answers.push({ status: uploaded.status, requestId, text: await uploaded.text() });
  }
  return answers;
}

/** Requests whose connections to the database break. */
async function pushWhileDatabaseBreaks(target: Target, proxy: StallingProxy): Promise<Answer[]> {
  const { url, keys } = target;
  const answers: Answer[] = [];
  for (const { text } of target.corpus) {
    const requests = Array.from({ length: 4 }, () =>
      send(url, {
        method: "POST",
        path: "/admin/tenants",
        headers: json(keys.operator),
        body: JSON.stringify({ name: text.slice(0, 200) }),
      }),
    );
    proxy.cut();
    answers.push(...(await Promise.all(requests)));
  }
  return answers;
}

/** What the `ectus` command logs when it is given names, and when it cannot do what it should. */
async function runCommands(databaseUrl: string, folder: string): Promise<string> {
  const runs: string[] = [];
  for (const [url, ...args] of [
    [databaseUrl, "tenant", "create", textOf("e-mail address 1")],
    [databaseUrl, "tenant", "create", `twice ${textOf("e-mail address 2")}`],
    [databaseUrl, "tenant", "create", `twice ${textOf("e-mail address 2")}`],
    [databaseUrl, "tenant", "show", textOf("a key of GitHub's")],
    [textOf("a database URL"), "tenant", "list"],
  ] as const) {
    const env = { PATH: process.env.PATH, DATABASE_URL: url, DATA_DIR: folder, LOG_LEVEL: "trace" };
    const child = spawn(process.execPath, [main, ...args], { env, stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    await once(child, "close");
    runs.push(stderr);
  }
  return runs.join("");
}

/** Resolves when no span waits any more; none may have been lost on its way. */
async function spansAreExported({ metricsUrl }: Instance): Promise<void> {
  await until(async () => {
    const metrics = await scrapeMetrics(metricsUrl);
    const waiting = metrics.samples.filter(({ name }) => name === "trace_spans_waiting");
    return waiting.length > 0 && waiting.every(({ value }) => value === 0);
  }, 30_000);
  const { samples } = await scrapeMetrics(metricsUrl);
  const lost = samples.filter(
    ({ name, value }) => /^(trace_spans|log_lines)_dropped_total$/.test(name) && value > 0,
  );
  expect(lost).toEqual([]);
}

/** All that Jaeger has, as its query API gives it. */
async function allTraces({ url }: Jaeger): Promise<string> {
  const hourMs = 3_600_000;
  const query = new URLSearchParams({
    "query.service_name": "ectus",
    "query.start_time_min": new Date(Date.now() - hourMs).toISOString(),
    "query.start_time_max": new Date(Date.now() + hourMs).toISOString(),
    "query.num_traces": "49999",
    "query.raw_traces": "true",
  });
  const answer = await fetch(`${url}/api/v3/traces?${query}`);
  if (!answer.ok) throw new Error(`Jaeger answers with ${answer.status}`);
  return answer.text();
}

/** The metrics in the formats that are text; the second has the exemplars. */
async function allFormats({ metricsUrl }: Instance): Promise<string> {
  const formats = ["text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"];
  const answers = await Promise.all(formats.map((accept) => fetch(metricsUrl, { headers: { accept } })));
  return (await Promise.all(answers.map((answer) => answer.text()))).join("\n");
}
