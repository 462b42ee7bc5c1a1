// Judges who was told of an alert, and who was not.
import { errorMessage } from "@ectus/core";
import type { AlertDrill, Severity } from "./drill.ts";
import { runbookOf } from "./project-files.ts";
import { announces, type Message } from "./receiver/messages.ts";
import type { Receiver } from "./receiver/receiver.ts";
import type { Rig } from "./rig/rig.ts";
import { orAborted, StepFailed, type Timeline, waitFor } from "./timeline.ts";

const destinations: Readonly<Record<Severity, readonly string[]>> = {
  page: ["Slack pages", "PagerDuty"],
  ticket: ["Slack tickets"],
  info: ["Slack info"],
};

/** Resolves with the time at which the last of those who must be told were told. What came before `since` is not it. */
export async function untilTold(
  { alert, severity }: AlertDrill,
  status: "firing" | "resolved",
  { since, withinMs }: { readonly since: number; readonly withinMs: number },
  { receiver, alertmanager, signal }: Rig,
  timeline: Timeline,
): Promise<number> {
  if (receiver === undefined) {
    const who = `platform-${severity}`;
    const what =
      status === "firing" ? `Alertmanager tells ${who} of ${alert}` : `${alert} is over in Alertmanager`;
    await waitFor({
      what,
      expected: status === "firing" ? "it is there, active, and goes to that receiver" : "it is gone",
      withinMs,
      signal,
      async ask() {
        const own = (await alertmanager.alerts()).filter(({ labels }) => labels.alertname === alert);
        const told = own.filter(
          ({ status: { state }, receivers }) =>
            state === "active" && receivers.some(({ name }) => name === who),
        );
        return (status === "firing" ? told.length > 0 : own.length === 0) ? true : undefined;
      },
      seen: async () =>
        (await alertmanager.alerts())
          .map(({ labels, status: { state } }) => `${labels.alertname} is ${state}`)
          .join("; "),
    });
    timeline.done(what);
    return Date.now();
  }
  let lastAt = 0;
  for (const destination of destinations[severity]) {
    const what = `${destination} has the message that ${alert} is ${status}`;
    const isIt = (message: Message): boolean =>
      message.at >= since && destinationOf(message) === destination && announces(message, alert, status);
    const message = await orAborted(receiver.waitFor(isIt, withinMs), signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new StepFailed({ what, expected: `it within ${withinMs / 1_000} s`, seen: errorMessage(error) });
    });
    lastAt = Math.max(lastAt, message.at);
    if (status === "firing" && !JSON.stringify(message).includes(`/${runbookOf(alert)}`))
      timeline.failed({
        what,
        expected: `a link to ${runbookOf(alert)} in it`,
        seen: JSON.stringify(message),
      });
    else timeline.done(what);
  }
  return lastAt;
}

/**
 * What nobody may have been told since the fault: siblings, any page where nobody is to be woken, and anything that Slack or
 * PagerDuty would refuse.
 */
export function checkSilence(
  { inhibits, wakesNobody }: AlertDrill,
  since: number,
  { receiver }: { readonly receiver: Pick<Receiver, "messages" | "refusals"> | undefined },
  timeline: Timeline,
): void {
  if (receiver === undefined) return;
  for (const { service, status: answer, reason } of receiver.refusals)
    timeline.failed({
      what: "Notifications are well formed",
      expected: `${service} takes them`,
      seen: `${answer} ${reason}`,
    });
  const judge = (what: string, told: readonly Message[]): void => {
    if (told.length === 0) timeline.done(what);
    else timeline.failed({ what, expected: "no message", seen: told.map(describeMessage).join("; ") });
  };
  for (const sibling of inhibits)
    judge(
      `Nobody was told of ${sibling}`,
      receiver.messages.filter((message) => message.at >= since && announces(message, sibling, "firing")),
    );
  if (wakesNobody === true)
    judge(
      "Nobody was woken",
      receiver.messages.filter(
        (message) => message.at >= since && destinations.page.includes(destinationOf(message)),
      ),
    );
}

/** To whom a message went. */
function destinationOf(message: Message): string {
  switch (message.service) {
    case "slack":
      return `Slack ${message.channel}`;
    case "pagerduty":
      return "PagerDuty";
    case "dead-mans-switch":
      return "dead man's switch";
  }
}

/** What a message says, in a line. */
export function describeMessage(message: Message): string {
  switch (message.service) {
    case "slack":
      return `Slack ${message.channel}: ${message.title}`;
    case "pagerduty":
      return `PagerDuty: ${message.event.event_action} ${message.event.payload?.summary ?? ""}`;
    case "dead-mans-switch":
      return "a beat";
  }
}
