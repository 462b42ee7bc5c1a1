import { expect, test } from "vitest";
import { highErrorRate } from "./drills/high-error-rate.ts";
import { checkSilence } from "./notifications.ts";
import type { Message } from "./receiver/messages.ts";
import type { Refusal } from "./receiver/receiver.ts";
import { startTimeline } from "./timeline.ts";

const brokenAt = 1_000;
const drill = { ...highErrorRate, inhibits: ["ErrorBudgetBurnFast"] };

const slack = (at: number, channel: string, title: string): Message => ({
  service: "slack",
  at,
  channel,
  title,
  text: "",
  payload: {},
});

/** Names and reasons of the steps that fail. */
function failures(
  messages: readonly Message[],
  wakesNobody: boolean,
  refusals: readonly Refusal[] = [],
): readonly string[] {
  const timeline = startTimeline(() => {});
  const judged = wakesNobody ? { ...drill, wakesNobody } : drill;
  checkSilence(judged, brokenAt, { receiver: { messages, refusals } }, timeline);
  return timeline.steps.filter(({ ok }) => !ok).map(({ what, seen }) => `${what}: ${seen}`);
}

test("nobody may be told of a silenced sibling from the fault on, not even before the alert itself", () => {
  const title = "FIRING ErrorBudgetBurnFast: the budget burns";
  expect(failures([slack(brokenAt, "pages", title)], false)).toEqual([
    `Nobody was told of ErrorBudgetBurnFast: Slack pages: ${title}`,
  ]);
  expect(failures([slack(brokenAt - 1, "pages", title)], false)).toEqual([]);
  expect(failures([slack(brokenAt, "pages", "FIRING HighErrorRate: requests fail")], false)).toEqual([]);
});

test("a page of any alert wakes somebody, a ticket does not", () => {
  expect(failures([slack(brokenAt, "tickets", "FIRING SlowQueries: slow")], true)).toEqual([]);
  expect(failures([slack(brokenAt, "pages", "FIRING HighLatency: slow")], true)).toEqual([
    "Nobody was woken: Slack pages: FIRING HighLatency: slow",
  ]);
  const paged: Message = {
    service: "pagerduty",
    at: brokenAt,
    event: { routing_key: "", event_action: "resolve", dedup_key: "1" },
  };
  expect(failures([paged], true)).toEqual(["Nobody was woken: PagerDuty: resolve "]);
});

test("a message that would have been refused fails the drill", () => {
  const refusal: Refusal = { service: "slack", at: brokenAt, status: 400, reason: "invalid_payload" };
  expect(failures([], false, [refusal])).toEqual(["Notifications are well formed: 400 invalid_payload"]);
});
