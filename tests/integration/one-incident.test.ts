// From a customer's failing request to the message that somebody reads at night, and back from the message to that very
// request: real traffic by the official client, a real scrape, rule, alert and message; its trace in Jaeger and its line
// in the aggregated log. Only the vendor of the model, Slack and PagerDuty, and the store of log records are doubles.
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  announces,
  type Message,
  type Receiver,
  type SlackMessage,
  startOwnAlertmanager,
  startOwnPrometheus,
  type WatchingPrometheus,
} from "@ectus/drills";
import { peer } from "@ectus/peers";
import OpenAI, { APIError } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openContainerLog } from "../monitoring/container-log.ts";
import { type LogReceiver, startLogReceiver } from "../monitoring/log-receiver.ts";
import { type JaegerReader, readJaeger } from "../monitoring/read-jaeger.ts";
import { startCollector } from "../monitoring/start-collector.ts";
import { chatModel, type Instance, startInstance } from "../monitoring/start-instance.ts";
import { until } from "../postgres/until.ts";
import { startStoredJaeger } from "../runbooks/start-stored-jaeger.ts";

const programs = {
  alertmanager: (await peer("alertmanager"))?.files.alertmanager ?? "",
  prometheus: (await peer("prometheus"))?.files.prometheus ?? "",
  jaeger: (await peer("jaeger"))?.files.jaeger ?? "",
  collector: (await peer("otel-collector"))?.files.otelcol ?? "",
};
const factors = { windows: 60, objective: 3600, ages: 60 };

interface Failure {
  readonly status: number;
  readonly requestId: string;
}

interface Exemplar {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: string;
}

describe.skipIf(Object.values(programs).includes(""))("one incident", () => {
  const started = new AsyncDisposableStack();
  let instance: Instance;
  let jaeger: JaegerReader;
  let jaegerUrl: string;
  let log: LogReceiver;
  let prometheus: WatchingPrometheus;
  let receiver: Receiver;
  /** Ends the customers' traffic; gives what failed. */
  let endTraffic: () => Promise<readonly Failure[]>;
  const failures: Failure[] = [];
  let succeeded = 0;

  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), "ectus-incident-"));
    started.defer(() => rm(folder, { recursive: true, force: true }));
    const jaegerProcess = await startStoredJaeger(programs.jaeger);
    started.defer(() => jaegerProcess.stop());
    jaeger = readJaeger(jaegerProcess);
    jaegerUrl = jaegerProcess.url;
    log = await startLogReceiver();
    started.defer(() => log.close());
    instance = await startInstance({
      // None at random: what is kept is kept since it failed.
      OTEL_TRACES_SAMPLER_ARG: "0",
      OTEL_EXPORTER_OTLP_ENDPOINT: jaegerProcess.otlpUrl,
    });
    started.defer(() => instance.stop());
    const pods = join(folder, "pods");
    const file = await openContainerLog(pods, {
      namespace: "ectus",
      name: "ectus-5f",
      uid: "7c1f",
      container: "ectus",
    });
    // Does what the kubelet does: keeps whole lines that have been printed since.
    let kept = 0;
    const keepLog = setInterval(() => {
      const text = instance.stdout();
      const end = text.lastIndexOf("\n") + 1;
      void file.append("stdout", text.slice(kept, end));
      kept = end;
    }, 100);
    started.defer(() => clearInterval(keepLog));
    const collector = await startCollector({
      program: programs.collector,
      logFiles: join(pods, "ectus_*", "*", "*.log"),
      stateFolder: join(folder, "state"),
      endpoint: log.endpoint,
    });
    started.defer(() => collector.kill());
    for (const name of ["alertmanager", "prometheus"]) await mkdir(join(folder, name));
    const told = await startOwnAlertmanager({
      path: programs.alertmanager,
      folder: join(folder, "alertmanager"),
      factors,
    });
    started.defer(() => told.stop());
    receiver = told.receiver;
    prometheus = await startOwnPrometheus({
      path: programs.prometheus,
      folder: join(folder, "prometheus"),
      factors,
      alertmanager: told.alertmanager.url,
      targets: [{ job: "ectus", address: new URL(instance.metricsUrl).host }],
    });
    started.defer(() => prometheus.stop());
    endTraffic = startTraffic();
    started.defer(async () => {
      await endTraffic();
    });
  }, 120_000);
  afterAll(() => started.disposeAsync());

  /** Four customers with the official client, one request after the other, JSON and streams in turn. */
  function startTraffic(): () => Promise<readonly Failure[]> {
    const client = new OpenAI({ baseURL: `${instance.url}/v1`, apiKey: instance.key, maxRetries: 0 });
    const messages = [{ role: "user" as const, content: "Hi" }];
    let over = false;
    async function customer(): Promise<void> {
      for (let count = 0; !over; count += 1) {
        try {
          if (count % 2 === 0) await client.chat.completions.create({ model: chatModel, messages });
          else {
            const stream = await client.chat.completions.create({ model: chatModel, messages, stream: true });
            for await (const _ of stream);
          }
          succeeded += 1;
        } catch (error) {
          if (!(error instanceof APIError)) throw error;
          failures.push({ status: error.status ?? 0, requestId: error.requestID ?? "" });
        }
        // Some ten a second each: the bound on the test's traffic.
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    const customers = Promise.all(Array.from({ length: 4 }, customer));
    customers.catch(() => {});
    return async () => {
      over = true;
      await customers;
      return failures;
    };
  }

  const told = (alert: string, status: "firing" | "resolved"): readonly Message[] =>
    receiver.messages.filter((message) => announces(message, alert, status));
  const firing = async (): Promise<readonly string[]> =>
    (await prometheus.alerts())
      .filter(({ state }) => state === "firing")
      .map(({ labels }) => labels.alertname ?? "")
      .toSorted();

  test("does not begin while all is well: only the Watchdog fires", async () => {
    await until(async () => {
      const [rate] = await prometheus.query("job:http_requests:rate5m");
      return Number(rate?.value[1] ?? 0) > 5;
    }, 30_000);
    await until(() => receiver.messages.some(({ service }) => service === "dead-mans-switch"), 30_000);
    // A Prometheus that has just started has seen no instance yet; a minute of that is a second here.
    await until(async () => (await firing()).join() === "Watchdog", 30_000);
    expect(succeeded).toBeGreaterThan(10);
    expect(failures).toEqual([]);
    expect(told("HighErrorRate", "firing")).toEqual([]);
  }, 90_000);

  test("wakes somebody with one message that says what is wrong, since when, how bad, and what to do", async () => {
    instance.upstream.always({ status: 500 });
    const message = (await receiver.waitFor(
      (each) => each.service === "slack" && announces(each, "HighErrorRate", "firing"),
      60_000,
    )) as SlackMessage;
    expect(message.channel).toBe("pages");
    expect(message.title).toMatch(/^FIRING HighErrorRate.*[\d.]+% of requests fail/);
    expect(message.text).toMatch(/since \d{4}-\d\d-\d\d \d\d:\d\d UTC/);
    expect(message.text).toContain("/high-error-rate.md");
    expect(message.text).toContain("/#/silences/new?");
    expect(message.text).toContain("service=ectus");
    const page = await receiver.waitFor(
      (each) => each.service === "pagerduty" && announces(each, "HighErrorRate", "firing"),
      30_000,
    );
    expect(page).toMatchObject({ event: { event_action: "trigger", payload: { severity: "critical" } } });
    expect(receiver.refusals).toEqual([]);
    // One message each, and what follows from it wakes nobody once more.
    expect(
      told("HighErrorRate", "firing")
        .map(({ service }) => service)
        .toSorted(),
    ).toEqual(["pagerduty", "slack"]);
    expect(told("ErrorBudgetBurnFast", "firing")).toEqual([]);
    expect(failures.length).toBeGreaterThan(0);
    expect(new Set(failures.map(({ status }) => status))).toEqual(new Set([502, 503]));
  }, 120_000);

  test("leads from the graph to one failed request: its exemplar, its trace, its log line and the customer's id are one", async () => {
    const failed = 'http_request_duration_seconds_bucket{path="/v1/chat/completions",status=~"5.."}';
    let traceId = "";
    await until(async () => {
      const exemplars = await exemplarsOf(failed);
      traceId = exemplars.at(-1)?.labels.trace_id ?? "";
      return traceId !== "";
    }, 30_000);
    expect(failures.map(({ requestId }) => requestId)).toContain(`req_${traceId}`);

    const trace = await jaeger.waitForTrace(traceId, ({ roots }) => roots.length === 1);
    expect(trace.roots[0]).toMatchObject({
      name: "POST /v1/chat/completions",
      status: "ERROR",
      resource: { "service.name": "ectus" },
    });

    await until(() => log.records.some((record) => record.traceId === traceId), 30_000);
    const records = log.records.filter((record) => record.traceId === traceId && record.body === "request");
    expect(records).toEqual([
      expect.objectContaining({
        spanId: trace.roots[0]?.spanId,
        attributes: expect.objectContaining({
          requestId: `req_${traceId}`,
          path: "/v1/chat/completions",
          status: trace.roots[0]?.attributes["http.response.status_code"],
        }),
      }),
    ]);
  }, 90_000);

  test("is found by the search that the message links to", async () => {
    const message = receiver.messages.find(
      (each) => each.service === "slack" && announces(each, "HighErrorRate", "firing"),
    ) as SlackMessage;
    const link = /https:\/\/traces\.example\.com(\/search\?[^\s)]+)/.exec(message.text)?.[1] ?? "";
    const { searchParams } = new URL(link, jaegerUrl);
    expect(searchParams.get("service")).toBe("ectus");
    // The page asks this of the same server.
    const query = new URLSearchParams({ service: "ectus", limit: "5", lookback: "1h" });
    query.set("tags", searchParams.get("tags") ?? "");
    query.set("end", String(Date.now() * 1000));
    query.set("start", String((Date.now() - 3_600_000) * 1000));
    const answer = await fetch(`${jaegerUrl}/api/traces?${query}`);
    const { data } = (await answer.json()) as { data: readonly { traceID: string }[] };
    const failedTraces = new Set(failures.map(({ requestId }) => requestId.replace(/^req_/, "")));
    expect(data.length).toBeGreaterThan(0);
    for (const { traceID } of data) expect(failedTraces).toContain(traceID);
  }, 30_000);

  test("ends with a message, when requests are answered again", async () => {
    instance.upstream.always({});
    await receiver.waitFor(
      (each) => each.service === "slack" && announces(each, "HighErrorRate", "resolved"),
      60_000,
    );
    await receiver.waitFor(
      (each) => each.service === "pagerduty" && announces(each, "HighErrorRate", "resolved"),
      30_000,
    );
    await until(async () => !(await firing()).includes("HighErrorRate"), 30_000);
  }, 120_000);

  async function exemplarsOf(selector: string): Promise<readonly Exemplar[]> {
    const range = { start: "0", end: String(Date.now() / 1000 + 60) };
    const answer = await fetch(
      `${prometheus.url}/api/v1/query_exemplars?${new URLSearchParams({ query: selector, ...range })}`,
    );
    const { data } = (await answer.json()) as { data: readonly { exemplars: readonly Exemplar[] }[] };
    return data.flatMap(({ exemplars }) => exemplars);
  }
});
