// The alerting of a drill: the real Prometheus and Alertmanager with the project's own rules and configuration, whose
// times are divided, sending to a receiver on this machine.
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { type ShorteningFactors, shortenAlertmanagerConfig } from "@ectus/alerting";
import { EctusError } from "@ectus/core";
import { type Alertmanager, startAlertmanager } from "../programs/alertmanager.ts";
import { findFreePort } from "../programs/free-port.ts";
import { type Prometheus, startPrometheus } from "../programs/prometheus.ts";
import { alertmanagerConfigPath, readTemplates } from "../project-files.ts";
import { type Receiver, startReceiver } from "../receiver/receiver.ts";
import { shortenedRules } from "../shortened-rules.ts";
import type { ScrapeTarget } from "./rig.ts";

/** A Prometheus that can be stopped and started again, and goes on with its data. */
export interface WatchingPrometheus extends Pick<Prometheus, "url" | "query" | "alerts" | "targets"> {
  readonly log: () => string;
  readonly stop: () => Promise<void>;
  readonly start: () => Promise<void>;
}

export interface OwnAlertmanager {
  readonly alertmanager: Alertmanager;
  readonly receiver: Receiver;
  readonly stop: () => Promise<void>;
}

// Seconds on a busy machine that starts everything else at the same time.
const startWithinMs = 60_000;

export async function startOwnAlertmanager(options: {
  readonly path: string;
  readonly folder: string;
  readonly factors: ShorteningFactors;
}): Promise<OwnAlertmanager> {
  const { path, folder, factors } = options;
  const receiver = await startReceiver();
  try {
    const config = shortenAlertmanagerConfig(await readFile(alertmanagerConfigPath, "utf8"), {
      factor: factors.windows,
      folder,
      pagerDutyUrl: receiver.pagerDutyUrl,
    });
    const templates = await readTemplates();
    const alertmanager = await startAlertmanager({
      path,
      folder,
      config,
      templates,
      secrets: receiver.secrets,
      timeoutMs: startWithinMs,
    });
    return {
      alertmanager,
      receiver,
      async stop() {
        await alertmanager.stop();
        await receiver.close();
      },
    };
  } catch (error) {
    await receiver.close();
    throw error;
  }
}

// Half a second, as often as a window of five seconds needs.
const interval = "500ms";
// Prometheus tells of itself a thousand series a scrape: that often is not needed.
const ownInterval = "2s";
// An alert that is not told again for four times as long is over, for Alertmanager.
const resendDelay = "2s";
const firstScrapeWithinMs = 60_000;
const askEveryMs = 50;
// Where links of messages lead; nothing has to be there.
const externalLabels = {
  runbooks_url: "https://runbooks.example.com",
  traces_url: "https://traces.example.com",
  prometheus_replica: "drill",
};

export async function startOwnPrometheus(options: {
  readonly path: string;
  readonly folder: string;
  readonly factors: ShorteningFactors;
  readonly alertmanager: string;
  readonly targets: readonly ScrapeTarget[];
}): Promise<WatchingPrometheus> {
  const { path, folder, factors, alertmanager, targets } = options;
  const ruleFiles = await shortenedRules(factors);
  const port = await findFreePort();
  const start = (rules: Readonly<Record<string, string>>): Promise<Prometheus> =>
    startPrometheus({
      path,
      folder,
      port,
      resendDelay,
      forGracePeriod: "1s",
      timeoutMs: startWithinMs,
      ruleFiles: rules,
      config: configOf(targets, new URL(alertmanager).host, `127.0.0.1:${port}`),
    });
  let earlierLog = "";
  // The first scrape comes before the rules: without it they would say that nothing is up.
  let server: Prometheus | undefined = await start({});
  try {
    await scraped(server);
    await server.reload(ruleFiles);
  } catch (error) {
    await server.stop();
    throw error;
  }
  const { url, query, alerts } = server;
  return {
    url,
    query,
    alerts,
    targets: server.targets,
    log: () => earlierLog + (server?.log() ?? ""),
    async stop() {
      const running = server;
      server = undefined;
      await running?.stop();
      earlierLog += running?.log() ?? "";
    },
    async start() {
      server ??= await start(ruleFiles);
    },
  };
}

function configOf(
  targets: readonly ScrapeTarget[],
  alertmanager: string,
  self: string,
): Record<string, unknown> {
  const jobs = Map.groupBy(targets, ({ job }) => job);
  return {
    global: {
      scrape_interval: interval,
      scrape_timeout: interval,
      evaluation_interval: interval,
      external_labels: externalLabels,
    },
    alerting: {
      alert_relabel_configs: [{ action: "labeldrop", regex: Object.keys(externalLabels).join("|") }],
      alertmanagers: [{ static_configs: [{ targets: [alertmanager] }] }],
    },
    scrape_configs: [
      ...[...jobs].map(([job, scraped]) => ({
        job_name: job,
        static_configs: scraped.map(({ address, labels = {} }) => ({ targets: [address], labels })),
      })),
      ...Object.entries({ prometheus: self, alertmanager }).map(([job_name, address]) => ({
        job_name,
        scrape_interval: ownInterval,
        scrape_timeout: ownInterval,
        static_configs: [{ targets: [address] }],
      })),
    ],
  };
}

/** Resolves when each target was scraped once. */
async function scraped({ targets }: Prometheus): Promise<void> {
  const giveUpAt = performance.now() + firstScrapeWithinMs;
  while (true) {
    const waiting = (await targets()).filter(({ health }) => health !== "up");
    if (waiting.length === 0) return;
    if (performance.now() > giveUpAt) {
      const faults = waiting.map(
        ({ scrapeUrl, lastError }) => `${scrapeUrl} (${lastError || "not scraped yet"})`,
      );
      throw new EctusError("program_failed", { reason: `Prometheus cannot scrape ${faults.join(", ")}` });
    }
    await delay(askEveryMs);
  }
}
