// The endpoint of a running instance, as a scraper and an operator meet it.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { gunzipSync } from "node:zlib";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readMetrics } from "./read-metrics.ts";
import { type Instance, startInstance } from "./start-instance.ts";

const programs = await peer("prometheus");
let instance: Instance;

beforeAll(async () => {
  instance = await startInstance();
});
afterAll(() => instance?.stop());

const chat = (): Promise<Response> =>
  fetch(`${instance.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${instance.key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "test-chat", messages: [{ role: "user", content: "Hi" }] }),
  });

test("the metrics have a listener of their own, which has nothing else", async () => {
  const { origin, pathname } = new URL(instance.metricsUrl);
  expect(pathname).toBe("/metrics");
  expect(origin).not.toBe(new URL(instance.url).origin);
  expect((await fetch(`${origin}/-/healthy`)).status).toBe(200);
  expect((await fetch(`${origin}/v1/models`)).status).toBe(404);
  expect((await fetch(`${instance.url}/metrics`)).status).toBe(404);
});

test("a scraper gets the format that it asks for, compressed if it wishes", async () => {
  const formats = {
    "text/plain;version=0.0.4": /^text\/plain; version=0\.0\.4; charset=utf-8/,
    "application/openmetrics-text;version=1.0.0":
      /^application\/openmetrics-text; version=1\.0\.0; charset=utf-8/,
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited":
      /^application\/vnd\.google\.protobuf; proto=io\.prometheus\.client\.MetricFamily; encoding=delimited/,
  };
  for (const [accept, contentType] of Object.entries(formats)) {
    const answer = await fetch(instance.metricsUrl, { headers: { accept } });
    expect(answer.headers.get("content-type")).toMatch(contentType);
    expect((await answer.arrayBuffer()).byteLength).toBeGreaterThan(1_000);
  }
});

test("curl without any header gets text", async () => {
  const program = await new Promise<string>((resolve, reject) => {
    execFile("curl", ["-sS", instance.metricsUrl], { maxBuffer: 2 ** 26 }, (error, stdout) =>
      error === null ? resolve(stdout) : reject(error),
    );
  });
  expect(readMetrics(program).types.get("http_requests_total")).toBe("counter");
  const compressed = await new Promise<Buffer>((resolve, reject) => {
    execFile(
      "curl",
      ["-sS", "-H", "Accept-Encoding: gzip", instance.metricsUrl],
      { maxBuffer: 2 ** 26, encoding: "buffer" },
      (error, stdout) => (error === null ? resolve(stdout) : reject(error)),
    );
  });
  expect(readMetrics(gunzipSync(compressed).toString()).types.size).toBeGreaterThan(50);
});

/** Names that the official client has and promtool dislikes; dashboards use them. */
const dislikedNames = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
  "nodejs_eventloop_utilization_histogram",
];

describe.skipIf(!programs)("promtool", () => {
  test("has nothing to say but of names that are the official client's", async () => {
    expect((await chat()).status).toBe(200);
    const text = await (await fetch(instance.metricsUrl, { headers: { accept: "text/plain" } })).text();
    const child = execFile(programs?.files.promtool as string, ["check", "metrics"]);
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (part) => (said += part));
    child.stdin?.end(text);
    await once(child, "close");
    const lines = said.split("\n").filter((line) => line !== "");
    expect(lines.filter((line) => !dislikedNames.some((name) => line.startsWith(`${name} `)))).toEqual([]);
    // It did read them.
    expect(lines).not.toEqual([]);
  });
});

test("without metrics nothing listens, and the API answers", async () => {
  const quiet = await startInstance({ METRICS_ENABLED: "false" });
  try {
    expect(quiet.metricsUrl).toBeUndefined();
    expect((await fetch(`${quiet.url}/health/ready`)).status).toBe(200);
  } finally {
    await quiet.stop();
  }
});

test("a port that is taken keeps no API from starting, is told once, and is used when it is free", async () => {
  const taken: Server = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const other = await startInstance({ METRICS_PORT: String(port) });
  try {
    expect((await fetch(`${other.url}/health/ready`)).status).toBe(200);
    taken.close();
    await once(taken, "close");
    await expect
      .poll(
        () =>
          fetch(`http://127.0.0.1:${port}/metrics`).then(
            ({ status }) => status,
            () => 0,
          ),
        { timeout: 20_000 },
      )
      .toBe(200);
    const warnings = other.lines.filter(({ level, module }) => level === "warn" && module === "metrics");
    expect(warnings).toHaveLength(1);
    expect(JSON.stringify(warnings[0])).toContain(String(port));
  } finally {
    await other.stop();
    if (taken.listening) taken.close();
  }
});
