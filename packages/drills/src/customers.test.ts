import { expect, test } from "vitest";
import { checkCustomers, describeView } from "./customers.ts";
import type { CustomersSee } from "./drill.ts";
import type { CustomerView } from "./rig/traffic.ts";
import { startTimeline } from "./timeline.ts";

const healthy: CustomerView = {
  requests: 10,
  answered: 10,
  failed: {},
  rejected: 0,
  brokenStreams: 0,
  unreachable: 0,
  timedOut: 0,
  heldBack: 0,
  firstTokenMs: { median: 20, p95: 40 },
};
const views: Readonly<Record<CustomersSee, CustomerView>> = {
  nothing: healthy,
  failures: { ...healthy, answered: 8, failed: { 500: 1, 503: 1 } },
  "broken-streams": { ...healthy, answered: 7, brokenStreams: 2, failed: { 502: 1 } },
  "slow-answers": { ...healthy, firstTokenMs: { median: 1_001, p95: 1_500 } },
  "no-answer": { ...healthy, answered: 0, unreachable: 10 },
};

function holds(kind: CustomersSee, view: CustomerView): boolean {
  const timeline = startTimeline(() => {});
  checkCustomers(kind, view, timeline);
  return timeline.steps.every(({ ok }) => ok);
}

test.each(Object.keys(views) as CustomersSee[])(
  "%s is seen where it is, and not where all is well",
  (kind) => {
    expect(holds(kind, views[kind])).toBe(true);
    expect(holds(kind, healthy)).toBe(kind === "nothing");
  },
);

test("streams that break count only where they are more than errors", () => {
  expect(holds("broken-streams", { ...healthy, brokenStreams: 2, failed: { 502: 2 } })).toBe(false);
});

test("no requests at all is not all being well", () => {
  expect(holds("nothing", { ...healthy, requests: 0, answered: 0 })).toBe(false);
});

test("a view is told in a line, without what did not happen", () => {
  expect(describeView(healthy)).toBe("10 of 10 requests answered, first token after 20 ms");
  expect(describeView(views.failures)).toBe(
    "8 of 10 requests answered, 1 with 500, 1 with 503, first token after 20 ms",
  );
  expect(describeView({ ...healthy, answered: 0, unreachable: 10, firstTokenMs: undefined })).toBe(
    "0 of 10 requests answered, 10 without an answer",
  );
});
