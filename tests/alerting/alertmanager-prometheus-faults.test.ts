// The way from Prometheus to people when a part of it fails: real servers, with the project's Alertmanager configuration.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { announces, type Message, type Prometheus, startPrometheus } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { until } from "../postgres/until.ts";
import { type AlertmanagerRig, startAlertmanagerRig } from "./alertmanager-rig.ts";

const [alertmanagerPeer, prometheusPeer] = await Promise.all([peer("alertmanager"), peer("prometheus")]);
const timeoutMs = 25_000;

/** A target with one gauge: whether something is broken. */
interface Target {
  readonly address: string;
  set(broken: boolean): void;
  close(): Promise<void>;
}

async function startTarget(): Promise<Target> {
  let broken = false;
  const server = createServer((_, response) =>
    response
      .writeHead(200, { "content-type": "text/plain; version=0.0.4" })
      .end(`broken ${Number(broken)}\n`),
  ).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    set: (now) => {
      broken = now;
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

const rule = (wait: string, expression = "broken == 1"): string =>
  JSON.stringify({
    groups: [
      {
        name: "test",
        rules: [
          {
            alert: "Broken",
            expr: expression,
            for: wait,
            labels: { severity: "page", team: "platform", area: "api" },
            annotations: {
              summary: "It is broken",
              runbook_url: "{{ $externalLabels.runbooks_url }}/broken.md",
            },
          },
        ],
      },
    ],
  });

describe.skipIf(!alertmanagerPeer || !prometheusPeer)("an alert", () => {
  let rig: AlertmanagerRig;
  let target: Target;
  let servers: Prometheus[];
  beforeEach(async () => {
    servers = [];
    [rig, target] = await Promise.all([
      startAlertmanagerRig(alertmanagerPeer?.files.alertmanager ?? "", 60),
      startTarget(),
    ]);
  });
  afterEach(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await target.close();
    await rig[Symbol.asyncDispose]();
  });

  async function start(
    name: string,
    rules: string,
    options: { readonly forGracePeriod?: string } = {},
  ): Promise<Prometheus> {
    const folder = join(rig.folder, name);
    await mkdir(folder, { recursive: true });
    const server = await startPrometheus({
      path: prometheusPeer?.files.prometheus ?? "",
      folder,
      ruleFiles: { "test.yaml": rules },
      resendDelay: "500ms",
      ...options,
      config: {
        global: {
          scrape_interval: "250ms",
          scrape_timeout: "250ms",
          evaluation_interval: "250ms",
          external_labels: {
            prometheus_replica: name,
            runbooks_url: "https://git.example/runbooks",
            traces_url: "https://jaeger.example",
          },
        },
        scrape_configs: [{ job_name: "ectus", static_configs: [{ targets: [target.address] }] }],
        alerting: {
          alert_relabel_configs: [
            { action: "labeldrop", regex: "prometheus_replica|runbooks_url|traces_url" },
          ],
          alertmanagers: [{ static_configs: [{ targets: [`127.0.0.1:${rig.alertmanager.port}`] }] }],
        },
      },
    });
    servers.push(server);
    return server;
  }

  const by = (service: Message["service"], status: "firing" | "resolved") => (message: Message) =>
    message.service === service && announces(message, "Broken", status);
  const ofSlack = (status: "firing" | "resolved") => by("slack", status);
  const state = async (server: Prometheus) => (await server.alerts())[0]?.state;
  /** A series of the server's own metrics. */
  const metric = async (server: { readonly url: string }, name: string): Promise<number> => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    const values = [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "gm"))];
    return values.reduce((sum, [, value]) => sum + Number(value), 0);
  };

  test("of two Prometheus servers is one message, and its end is one", async () => {
    const [one, two] = await Promise.all([start("one", rule("0s")), start("two", rule("0s"))]);
    target.set(true);
    const message = await rig.receiver.waitFor(ofSlack("firing"), timeoutMs);
    expect(message).toMatchObject({
      payload: { attachments: [{ title_link: "https://git.example/runbooks/broken.md" }] },
    });
    for (const server of [one, two])
      await until(async () => (await metric(server, "prometheus_notifications_sent_total")) > 0, timeoutMs);
    expect((await rig.alertmanager.alerts()).map(({ labels }) => labels)).toEqual([
      {
        ...{ alertname: "Broken", severity: "page", team: "platform", area: "api" },
        ...{ job: "ectus", instance: target.address },
      },
    ]);
    target.set(false);
    for (const service of ["slack", "pagerduty"] as const) {
      await rig.receiver.waitFor(by(service, "resolved"), timeoutMs);
      expect(rig.receiver.messages.filter((each) => each.service === service)).toHaveLength(2);
    }
  });

  test("that fires while Alertmanager is down is told once it is back", async () => {
    const server = await start("one", rule("0s"));
    await rig.alertmanager.stop();
    target.set(true);
    await until(async () => (await state(server)) === "firing", timeoutMs);
    await until(async () => (await metric(server, "prometheus_notifications_errors_total")) > 0, timeoutMs);
    expect(rig.receiver.messages).toEqual([]);
    await rig.restart();
    await rig.receiver.waitFor(ofSlack("firing"), timeoutMs);
  });

  test("that Alertmanager told before it was restarted is not told again, and its end is", async () => {
    await start("one", rule("0s"));
    target.set(true);
    await rig.receiver.waitFor(ofSlack("firing"), timeoutMs);
    // It has noted that both receivers were told when it asks for it at the group's next turn.
    await until(
      async () => (await metric(rig.alertmanager, "alertmanager_nflog_queries_total")) >= 4,
      timeoutMs,
      50,
    );
    await rig.alertmanager.stop();
    await rig.restart();
    await until(async () => (await rig.alertmanager.alerts()).length === 1, timeoutMs);
    target.set(false);
    await rig.receiver.waitFor(ofSlack("resolved"), timeoutMs);
    expect(rig.receiver.messages.filter(ofSlack("firing"))).toHaveLength(1);
  });

  test("that always fires stops with Prometheus, and the dead man's switch notices", async () => {
    const path = new URL("../../k8s/prometheus/alerts.yaml", import.meta.url).pathname;
    const { groups } = parse(await readFile(path, "utf8")) as {
      groups: readonly { rules: readonly { alert?: string }[] }[];
    };
    const watchdog = groups.flatMap(({ rules }) => rules).filter(({ alert }) => alert === "Watchdog");
    expect(watchdog).toHaveLength(1);
    const server = await start("one", JSON.stringify({ groups: [{ name: "watchdog", rules: watchdog }] }));
    await until(() => rig.receiver.messages.length >= 5, timeoutMs);
    // Until then it has not: three minutes are three seconds here.
    const beats = rig.receiver.messages.map(({ at }) => at);
    expect(Math.max(...beats.slice(1).map((at, index) => at - (beats[index] ?? 0)))).toBeLessThan(3_000);
    process.kill(server.pid, "SIGKILL");
    await server.exited;
    await rig.receiver.waitForSilence(3_000, timeoutMs);
    expect(new Set(rig.receiver.messages.map(({ service }) => service))).toEqual(
      new Set(["dead-mans-switch"]),
    );
  });

  // By default, Prometheus keeps the wait only of alerts that wait for ten minutes or longer: those of five begin anew.
  test("that waits for its five minutes goes on waiting after a restart of Prometheus with a grace period of 1m", async () => {
    // It looks for what waited at its second evaluation, and only for what is true then: this needs no scrape before that.
    const always = rule("5m", "vector(1)");
    const startBoth = () =>
      Promise.all([start("kept", always, { forGracePeriod: "1m" }), start("anew", always)]);
    const started = await startBoth();
    for (const server of started)
      await until(
        async () => (await server.query("count_over_time(ALERTS_FOR_STATE[1m]) > 4")).length > 0,
        timeoutMs,
      );
    await Promise.all(started.map((server) => server.stop()));
    const restartedAt = Date.now();
    const [kept, anew] = await startBoth();
    const activeAt = async (server: Prometheus) => Date.parse((await server.alerts())[0]?.activeAt ?? "");
    await until(async () => (await activeAt(anew)) > 0, timeoutMs);
    await until(async () => (await activeAt(kept)) < restartedAt, timeoutMs);
    expect(await activeAt(anew)).toBeGreaterThan(restartedAt);
    expect(await state(kept)).toBe("pending");
  });

  test("stays when a rule file gets a typo, and promtool says where it is", async () => {
    const server = await start("one", rule("0s"));
    target.set(true);
    await until(async () => (await state(server)) === "firing", timeoutMs);
    const typo =
      "groups:\n  - name: test\n    rules:\n      - alert: Broken\n        expr: sum(broken == 1\n";
    await expect(server.reload({ "test.yaml": typo })).rejects.toThrow(/failed to reload config/);
    expect(server.log()).toMatch(
      /test\.yaml: 5:15: group \\?"test\\?", rule 1, \\?"Broken\\?": could not parse expression/,
    );
    expect(await metric(server, "prometheus_config_last_reload_successful")).toBe(0);
    expect((await server.rules()).map(({ name, health }) => [name, health])).toEqual([["Broken", "ok"]]);
    expect(await state(server)).toBe("firing");

    const path = join(rig.folder, "typo.yaml");
    await writeFile(path, typo);
    const promtool = promisify(execFile)(prometheusPeer?.files.promtool ?? "", ["check", "rules", path]);
    await expect(promtool).rejects.toMatchObject({ stderr: expect.stringContaining("typo.yaml: 5:15: ") });
  });
});
