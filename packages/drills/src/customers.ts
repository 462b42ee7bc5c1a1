// Judges what the clients of a drill saw: a fault that nobody noticed was none, and one that was mended is over for them.
import type { CustomersSee } from "./drill.ts";
import type { CustomerView } from "./rig/traffic.ts";
import type { Timeline } from "./timeline.ts";

const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((a, b) => a + b, 0);

const customerChecks: Readonly<
  Record<CustomersSee, { expected: string; holds: (view: CustomerView) => boolean }>
> = {
  failures: { expected: "answers with a status of 500 or more", holds: ({ failed }) => sum(failed) > 0 },
  "broken-streams": {
    expected: "streams that broke, more of them than answers with an error",
    holds: ({ brokenStreams, failed }) => brokenStreams > sum(failed),
  },
  "slow-answers": {
    expected: "first tokens after more than a second",
    holds: ({ firstTokenMs }) => (firstTokenMs?.median ?? 0) > 1_000,
  },
  "no-answer": { expected: "requests that nobody answered", holds: ({ unreachable }) => unreachable > 0 },
  nothing: {
    expected: "answers to all requests",
    holds: ({ requests, answered }) => requests > 0 && answered === requests,
  },
};

export function checkCustomers(kind: CustomersSee, view: CustomerView, timeline: Timeline): void {
  const { expected, holds } = customerChecks[kind];
  const what = kind === "nothing" ? "Customers notice nothing" : "Customers notice it";
  if (holds(view)) timeline.done(`${what}: ${describeView(view)}`);
  else timeline.failed({ what, expected, seen: describeView(view) });
}

/** What clients saw, in a line. */
export function describeView(view: CustomerView): string {
  const {
    requests,
    answered,
    failed,
    rejected,
    brokenStreams,
    unreachable,
    timedOut,
    heldBack,
    firstTokenMs,
  } = view;
  const counts: readonly (readonly [number, string])[] = [
    ...Object.entries(failed).map(([status, count]) => [count, `with ${status}`] as const),
    [rejected, "rejected"],
    [brokenStreams, "streams broken"],
    [unreachable, "without an answer"],
    [timedOut, "given up after 10 s"],
    [heldBack, "not sent"],
  ];
  return [
    `${answered} of ${requests} requests answered`,
    ...counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`),
    ...(firstTokenMs === undefined ? [] : [`first token after ${firstTokenMs.median} ms`]),
  ].join(", ");
}
