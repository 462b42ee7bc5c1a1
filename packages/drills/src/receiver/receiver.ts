// The end of the line on this machine: takes notifications as Slack, PagerDuty and a dead man's switch do, refuses what
// they would refuse, keeps what it took, and can fail as they can. Drills and tests send to it instead of to people.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { EctusError } from "@ectus/core";
import type { Message, Service } from "./messages.ts";
import { checkPagerDuty } from "./pagerduty.ts";
import { checkSlack, readSlack } from "./slack.ts";

/** How it answers. */
export type Behavior =
  | { readonly kind: "accept" }
  | { readonly kind: "fail"; readonly status: number }
  | { readonly kind: "limit"; readonly retryAfterSeconds: number }
  | { readonly kind: "hang" };

/** A request that got another answer than acceptance. */
export interface Refusal {
  readonly service: Service;
  readonly at: number;
  /** 0 when it got no answer. */
  readonly status: number;
  readonly reason: string;
}

export interface Receiver {
  /** What Alertmanager's secret files hold to send here, by their names in k8s/prometheus/alertmanager/config.yaml. */
  readonly secrets: Readonly<Record<string, string>>;
  /** For `pagerduty_url`. */
  readonly pagerDutyUrl: string;
  /** All that was accepted, oldest first. */
  readonly messages: readonly Message[];
  readonly refusals: readonly Refusal[];
  /** Resolves with the first message, of those that came and those that come, that is the one; rejects after a time. */
  waitFor(isTheOne: (message: Message) => boolean, timeoutMs: number): Promise<Message>;
  /** Resolves when the dead man's switch has had no beat for `silenceMs`, so would raise the alarm. */
  waitForSilence(silenceMs: number, timeoutMs: number): Promise<void>;
  /** Of one service, or of all; from now on. Requests that hang stay without an answer. */
  behave(behavior: Behavior, service?: Service): void;
  close(): Promise<void>;
}

const services: readonly Service[] = ["slack", "pagerduty", "dead-mans-switch"];
// As PagerDuty's keys are: 32 letters and digits.
const routingKey = "e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0";
const channels: readonly string[] = ["pages", "tickets", "info"];
const maxBodyBytes = 4 * 1024 * 1024;

/** Starts it on a free port of loopback. */
export async function startReceiver(): Promise<Receiver> {
  const messages: Message[] = [];
  const refusals: Refusal[] = [];
  const behaviors = new Map<Service, Behavior>(services.map((service) => [service, { kind: "accept" }]));
  const listeners = new Set<(message: Message) => void>();
  const startedAt = Date.now();

  const accept = (message: Message): void => {
    messages.push(message);
    for (const listener of [...listeners]) listener(message);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const path = request.url ?? "";
    const service = serviceOf(path);
    const reply = (
      status: number,
      content: string | object,
      headers: Readonly<Record<string, string>> = {},
    ): void => {
      const json = typeof content !== "string";
      if (service !== undefined && status >= 300)
        refusals.push({ service, at: Date.now(), status, reason: json ? JSON.stringify(content) : content });
      response
        .writeHead(status, { "content-type": json ? "application/json" : "text/plain", ...headers })
        .end(json ? JSON.stringify(content) : content);
    };
    if (service === undefined) return reply(404, "no_service");
    if (request.method !== "POST") return reply(405, "invalid_method");
    if (body === undefined) return reply(413, "request_too_large");
    const behavior = behaviors.get(service) ?? { kind: "accept" };
    switch (behavior.kind) {
      case "fail":
        return reply(behavior.status, "told to fail");
      case "limit":
        return reply(429, "rate_limited", { "retry-after": String(behavior.retryAfterSeconds) });
      case "hang":
        refusals.push({ service, at: Date.now(), status: 0, reason: "told not to answer" });
        return;
      case "accept":
    }
    const at = Date.now();
    switch (service) {
      case "slack": {
        const { status, body: word, payload } = checkSlack(request.headers["content-type"] ?? "", body);
        const channel = path.slice(path.lastIndexOf("/") + 1);
        if (payload !== undefined) accept({ service, at, channel, ...readSlack(payload), payload });
        return reply(status, word);
      }
      case "pagerduty": {
        const { status, body: content, event } = checkPagerDuty(body);
        if (event !== undefined) accept({ service, at, event });
        return reply(status, content);
      }
      case "dead-mans-switch":
        accept({ service, at });
        return reply(200, "OK");
    }
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    secrets: {
      ...Object.fromEntries(
        channels.map((channel) => [`slack-${channel}-url`, `${url}${slackPath}${channel}`]),
      ),
      "dead-mans-switch-url": `${url}${switchPath}`,
      "pagerduty-routing-key": routingKey,
    },
    pagerDutyUrl: `${url}${pagerDutyPath}`,
    messages,
    refusals,
    waitFor(isTheOne, timeoutMs) {
      const found = messages.find(isTheOne);
      if (found !== undefined) return Promise.resolve(found);
      return new Promise((resolve, reject) => {
        const finish = (): void => {
          clearTimeout(timer);
          listeners.delete(listener);
        };
        const listener = (message: Message): void => {
          if (!isTheOne(message)) return;
          finish();
          resolve(message);
        };
        const timer = setTimeout(() => {
          finish();
          reject(new EctusError("notification_missing", { timeoutMs, seen: summary(messages, refusals) }));
        }, timeoutMs);
        listeners.add(listener);
      });
    },
    waitForSilence(silenceMs, timeoutMs) {
      return new Promise((resolve, reject) => {
        const last = messages.findLast(({ service }) => service === "dead-mans-switch")?.at ?? startedAt;
        const finish = (): void => {
          clearTimeout(alarm);
          clearTimeout(timer);
          listeners.delete(listener);
        };
        const silent = (): void => {
          finish();
          resolve();
        };
        let alarm = setTimeout(silent, Math.max(0, last + silenceMs - Date.now()));
        const listener = ({ service }: Message): void => {
          if (service !== "dead-mans-switch") return;
          clearTimeout(alarm);
          alarm = setTimeout(silent, silenceMs);
        };
        const timer = setTimeout(() => {
          finish();
          const seen = `the dead man's switch still got its beats; ${summary(messages, refusals)}`;
          reject(new EctusError("notification_missing", { timeoutMs, seen }));
        }, timeoutMs);
        listeners.add(listener);
      });
    },
    behave(behavior, service) {
      for (const each of service === undefined ? services : [service]) behaviors.set(each, behavior);
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

const slackPath = "/services/T00000000/B00000000/";
const pagerDutyPath = "/v2/enqueue";
const switchPath = "/ping/00000000-0000-4000-8000-000000000000";

function serviceOf(path: string): Service | undefined {
  if (path === pagerDutyPath) return "pagerduty";
  if (path === switchPath) return "dead-mans-switch";
  const channel = path.startsWith(slackPath) ? path.slice(slackPath.length) : "";
  return channels.includes(channel) ? "slack" : undefined;
}

/** Undefined when it is too large; it is read to its end all the same, so that the sender reads the answer. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes <= maxBodyBytes) parts.push(part);
  }
  return bytes > maxBodyBytes ? undefined : Buffer.concat(parts).toString();
}

function summary(messages: readonly Message[], refusals: readonly Refusal[]): string {
  const told = messages.flatMap((message) => {
    if (message.service === "slack") return [`Slack ${message.channel}: ${message.title}`];
    if (message.service === "pagerduty")
      return [`PagerDuty: ${message.event.event_action} ${message.event.payload?.summary ?? ""}`];
    return [];
  });
  const refused = refusals.map(
    ({ service, status, reason }) => `${service} was answered ${status} ${reason}`,
  );
  const all = [...told, ...refused];
  return all.length === 0 ? "nothing" : all.slice(-10).join("; ");
}
