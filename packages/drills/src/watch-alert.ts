// Watches a fault go by: quiet before, the alert pending and firing, who is told and who is not, what the runbook's
// queries say, and that all of it ends once the fault is mended.
import { setTimeout as delay } from "node:timers/promises";
import { shortenExpression } from "@ectus/alerting";
import { checkCustomers, describeView } from "./customers.ts";
import type { AlertDrill } from "./drill.ts";
import type { Findings } from "./findings.ts";
import { checkSilence, untilTold } from "./notifications.ts";
import type { RaisedAlert } from "./programs/prometheus.ts";
import { type RunbookQuery, readRunbookQueries, runbookOf } from "./project-files.ts";
import type { Rig } from "./rig/rig.ts";
import type { CustomerView } from "./rig/traffic.ts";
import { orAborted, StepFailed, type Timeline, waitFor } from "./timeline.ts";

const quietWithinMs = 60_000;
const detectWithinMs = 30_000;
const notifyWithinMs = 30_000;
const inhibitedWithinMs = 30_000;
const answeredWithinMs = 20_000;
const resolveWithinMs = 60_000;
// Ten requests or more.
const recoveryMs = 500;

export async function watchAlert(
  drill: AlertDrill,
  rig: Rig,
  timeline: Timeline,
  findings: Findings,
): Promise<void> {
  const { traffic } = rig;
  const queries = await readRunbookQueries(drill.alert);
  const before = await untilQuiet([drill.alert, ...drill.inhibits], rig, timeline);
  findings.customers.push({ phase: "before", view: before });

  const brokenAt = Date.now();
  const mitigate = await drill.inject(rig);
  timeline.done(`Fault: ${drill.fault}`);
  findings.customers.push({ phase: "while it was broken", view: traffic.take() });

  const firing = await untilFiring(drill, rig, timeline, findings);
  const firingAt = Date.now();
  findings.durations = { ...findings.durations, detect: seconds(firingAt - brokenAt) };
  const told = { since: brokenAt, withinMs: notifyWithinMs };
  const toldAt = await untilTold(drill, "firing", told, rig, timeline);
  findings.durations = { ...findings.durations, notify: seconds(Math.max(0, toldAt - firingAt)) };
  for (const sibling of drill.inhibits)
    await orNoted(timeline, () => checkInhibited(sibling, firing, rig, timeline));
  for (const query of queries)
    await orNoted(timeline, () => checkQuery(drill, query, rig, timeline, findings));
  const broken = traffic.take();
  findings.customers.push({ phase: "broken", view: broken });
  if (drill.customersSee !== undefined) checkCustomers(drill.customersSee, broken, timeline);

  const mitigatedAt = Date.now();
  await mitigate();
  timeline.done(`Mitigation: ${drill.mitigation}`);
  await untilResolved(drill, rig, timeline, findings);
  const over = { since: mitigatedAt, withinMs: resolveWithinMs };
  const overAt = await untilTold(drill, "resolved", over, rig, timeline);
  findings.durations = { ...findings.durations, resolve: seconds(overAt - mitigatedAt) };
  findings.customers.push({ phase: "while it was mended", view: traffic.take() });
  await delay(recoveryMs, undefined, { signal: rig.signal });
  const after = traffic.take();
  findings.customers.push({ phase: "after", view: after });
  checkCustomers("nothing", after, timeline);
  checkSilence(drill, brokenAt, rig, timeline);
}

/** Clients are answered, everything is scraped, and neither the alerts in question nor any page is raised. */
export async function untilQuiet(
  alerts: readonly string[],
  { prometheus, alertmanager, traffic, receiver, signal }: Rig,
  timeline: Timeline,
): Promise<CustomerView> {
  const disturbing = async (): Promise<readonly string[]> => {
    const raised = (await prometheus.alerts()).filter(
      ({ labels }) => alerts.includes(labels.alertname ?? "") || labels.severity === "page",
    );
    const told = (await alertmanager.alerts()).filter(({ labels }) =>
      alerts.includes(labels.alertname ?? ""),
    );
    return [
      ...raised.map(describeAlert),
      ...told.map(({ labels }) => `${labels.alertname} is not over in Alertmanager`),
    ];
  };
  const rate = async (): Promise<number> =>
    Number((await prometheus.query("job:http_requests:rate5m"))[0]?.value[1] ?? 0);
  const targetsDown = async (): Promise<readonly string[]> =>
    (await prometheus.targets())
      .filter(({ health }) => health !== "up")
      .map(({ labels, lastError }) => `${labels.job} is not scraped (${lastError || "not yet"})`);
  await waitFor({
    what: "Clients are answered, and the rules are quiet",
    expected: "requests in Prometheus, every target up, no page and none of the drill's alerts",
    withinMs: quietWithinMs,
    signal,
    ask: async () =>
      (await rate()) > 1 && (await targetsDown()).length === 0 && (await disturbing()).length === 0
        ? true
        : undefined,
    seen: async () =>
      [
        `${(await rate()).toFixed(1)} requests a second`,
        ...(await targetsDown()),
        ...(await disturbing()),
      ].join("; "),
  });
  // The whole way to the outside works before anything is broken.
  if (receiver !== undefined)
    await orAborted(
      receiver.waitFor(({ service }) => service === "dead-mans-switch", notifyWithinMs),
      signal,
    );
  traffic.take();
  await delay(recoveryMs, undefined, { signal });
  const view = traffic.take();
  const what = "Clients are answered, the rules are quiet, and the dead man's switch has its beats";
  if (view.answered === view.requests) timeline.done(what);
  else timeline.failed({ what, expected: "answers to all requests", seen: describeView(view) });
  return view;
}

async function untilFiring(
  drill: AlertDrill,
  { prometheus, signal }: Rig,
  timeline: Timeline,
  findings: Findings,
): Promise<RaisedAlert> {
  let isPending = false;
  const found = await waitFor({
    what: `${drill.alert} fires`,
    expected: `it fires with severity ${drill.severity}${labelText(drill.labels)}`,
    withinMs: drill.detectWithinMs ?? detectWithinMs,
    signal,
    async ask() {
      const raised = await prometheus.alerts();
      noteOthers(drill, raised, findings);
      const own = raised.filter((alert) => isOf(drill, alert));
      if (!isPending && own.some(({ state }) => state === "pending")) {
        isPending = true;
        timeline.done(`${drill.alert} is pending`);
      }
      return own.find(({ state }) => state === "firing");
    },
    seen: async () => {
      const raised = (await prometheus.alerts()).filter(({ labels }) => labels.alertname !== "Watchdog");
      return raised.length === 0 ? "no alert" : raised.map(describeAlert).join("; ");
    },
  });
  if (found.labels.severity !== drill.severity)
    timeline.failed({
      what: `${drill.alert} fires`,
      expected: `severity ${drill.severity}`,
      seen: `severity ${found.labels.severity}`,
    });
  else timeline.done(`${drill.alert} fires: ${found.annotations.summary ?? ""}`);
  return found;
}

async function checkInhibited(
  sibling: string,
  cause: RaisedAlert,
  { alertmanager, prometheus, signal }: Rig,
  timeline: Timeline,
): Promise<void> {
  const what = `${sibling} fires as well, and ${cause.labels.alertname} silences it`;
  await waitFor({
    what,
    expected: "it is suppressed in Alertmanager, by an inhibition",
    withinMs: inhibitedWithinMs,
    signal,
    async ask() {
      const own = (await alertmanager.alerts()).filter(({ labels }) => labels.alertname === sibling);
      return own.length > 0 && own.every(({ status }) => status.inhibitedBy.length > 0) ? true : undefined;
    },
    seen: async () => {
      const raised = (await prometheus.alerts()).filter(({ labels }) => labels.alertname === sibling);
      const had = (await alertmanager.alerts()).filter(({ labels }) => labels.alertname === sibling);
      return `${raised.map(describeAlert).join("; ") || "not raised"}; in Alertmanager: ${had.map(({ status }) => status.state).join(", ") || "not there"}`;
    },
  });
  timeline.done(what);
}

async function checkQuery(
  { alert }: AlertDrill,
  { line, expression }: RunbookQuery,
  { prometheus, factors, signal }: Rig,
  timeline: Timeline,
  findings: Findings,
): Promise<void> {
  const what = `The query at ${runbookOf(alert)}:${line} has an answer`;
  const shortened = shortenExpression(expression, factors);
  const samples = await waitFor({
    what,
    expected: `one sample or more of ${shortened}`,
    withinMs: answeredWithinMs,
    signal,
    async ask() {
      const found = await prometheus.query(shortened);
      return found.length > 0 ? found : undefined;
    },
    seen: async () => ((await prometheus.query(shortened)).length === 0 ? "none" : "one that came too late"),
  });
  const answer = samples.map(({ metric, value }) => `${JSON.stringify(metric)} ${value[1]}`).join("\n");
  findings.answers.push({ line, expression: shortened, answer });
  timeline.done(what);
}

async function untilResolved(
  drill: AlertDrill,
  { prometheus, signal }: Rig,
  timeline: Timeline,
  findings: Findings,
): Promise<void> {
  const own = async (): Promise<readonly RaisedAlert[]> => {
    const raised = await prometheus.alerts();
    noteOthers(drill, raised, findings);
    return raised.filter((alert) => isOf(drill, alert) && alert.state === "firing");
  };
  await waitFor({
    what: `${drill.alert} is over`,
    expected: "it fires no more",
    withinMs: resolveWithinMs,
    signal,
    ask: async () => ((await own()).length === 0 ? true : undefined),
    seen: async () => (await own()).map(describeAlert).join("; "),
  });
  timeline.done(`${drill.alert} is over`);
}

function noteOthers({ alert }: AlertDrill, raised: readonly RaisedAlert[], { others }: Findings): void {
  for (const { labels } of raised)
    if (labels.alertname !== undefined && labels.alertname !== alert) others.add(labels.alertname);
}

/** A check whose failure does not keep the rest from being judged. */
async function orNoted(timeline: Timeline, check: () => Promise<void>): Promise<void> {
  try {
    await check();
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    timeline.failed(error.failure);
  }
}

const isOf = (drill: AlertDrill, { labels }: RaisedAlert): boolean =>
  labels.alertname === drill.alert &&
  Object.entries(drill.labels ?? {}).every(([name, value]) => labels[name] === value);

const labelText = (labels: Readonly<Record<string, string>> = {}): string =>
  Object.entries(labels)
    .map(([name, value]) => ` and ${name}=${JSON.stringify(value)}`)
    .join("");

const describeAlert = ({ labels, state, annotations }: RaisedAlert): string =>
  `${labels.alertname} is ${state} (${annotations.summary ?? ""})`;

const seconds = (ms: number): number => Math.round(ms) / 1_000;
