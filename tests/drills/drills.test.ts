// Drills from the fault to the end of it: real programs, the messages that arrive, and nothing that is left. The first one
// as an operator holds it. Several at once, since they wait for most of their time.
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DrillHolder, openDrillHolder } from "./held-drill.ts";

// Of which some may be spent waiting for others.
const timeoutMs = 300_000;

let holder: DrillHolder;
beforeAll(async () => {
  holder = await openDrillHolder(4);
}, 1_200_000);
afterAll(async () => expect(await holder.close()).toEqual([]));

test.concurrent(
  "high-error-rate goes all its steps, says them as JSON, keeps a report and leaves nothing",
  async () => {
    const { code, result, failed, report, left, tookMs } = await holder.command("high-error-rate");
    expect(failed).toEqual([]);
    expect(code).toBe(0);
    expect(result).toEqual({
      drill: "high-error-rate",
      passed: true,
      steps: expect.any(Array),
      durations: { detect: expect.any(Number), notify: expect.any(Number), resolve: expect.any(Number) },
    });
    expect(result.steps.map(({ what }) => what)).toEqual([
      "The instance, its PostgreSQL, Prometheus and Alertmanager run",
      "Clients are answered, the rules are quiet, and the dead man's switch has its beats",
      "Fault: the vendor answers every call with 500",
      "HighErrorRate is pending",
      expect.stringMatching(/^HighErrorRate fires: .*% of requests fail/),
      "Slack pages has the message that HighErrorRate is firing",
      "PagerDuty has the message that HighErrorRate is firing",
      "ErrorBudgetBurnFast fires as well, and HighErrorRate silences it",
      expect.stringMatching(/^The query at high-error-rate\.md:\d+ has an answer$/),
      ...result.steps
        .map(({ what }) => what)
        .filter((what) => what.startsWith("The query at"))
        .slice(1),
      expect.stringMatching(/^Customers notice it: \d+ of \d+ requests answered, .* with 50\d/),
      "Mitigation: the vendor works again",
      "HighErrorRate is over",
      "Slack pages has the message that HighErrorRate is resolved",
      "PagerDuty has the message that HighErrorRate is resolved",
      expect.stringMatching(/^Customers notice nothing: /),
      "Nobody was told of ErrorBudgetBurnFast",
    ]);
    for (const step of result.steps) expect(Object.keys(step).sort()).toEqual(["at", "ok", "what"]);
    const { detect, resolve } = result.durations;
    // `for: 5m` in shortened time.
    expect(detect).toBeGreaterThan(5);
    expect(resolve).toBeGreaterThan(1);
    expect(tookMs).toBeLessThan(90_000);
    expect(report).toContain("# Drill high-error-rate: passed");
    expect(report).toContain("Slack pages: FIRING HighErrorRate");
    expect(left).toEqual([]);
  },
  timeoutMs,
);

test.concurrent(
  "broken-streams: streams that break after their 200 are failures",
  async () => {
    const { result, failed, done, report, left } = await holder.hold("broken-streams");
    expect(failed).toEqual([]);
    expect(result.passed).toBe(true);
    expect(done).toContainEqual(expect.stringMatching(/^Customers notice it: .* streams broken/));
    expect(report).not.toMatch(/\| broken \| .* with 50\d/);
    expect(left).toEqual([]);
  },
  timeoutMs,
);

test.concurrent(
  "high-latency: late first tokens are told, although every request is answered",
  async () => {
    const { result, failed, done, left } = await holder.hold("high-latency");
    expect(failed).toEqual([]);
    expect(result.passed).toBe(true);
    expect(done).toContainEqual(expect.stringMatching(/^HighLatency fires: .*first/i));
    expect(left).toEqual([]);
  },
  timeoutMs,
);

test.concurrent(
  "error-budget-burn: what is below five percent is told all the same",
  async () => {
    const { result, failed, report, left } = await holder.hold("error-budget-burn");
    expect(failed).toEqual([]);
    expect(result.passed).toBe(true);
    expect(report).not.toContain("HighErrorRate");
    expect(left).toEqual([]);
  },
  timeoutMs,
);

test.concurrent(
  "ai-provider-failing: a vendor that another stands in for is a ticket, and no page",
  async () => {
    const { result, failed, done, left } = await holder.hold("ai-provider-failing");
    expect(failed).toEqual([]);
    expect(result.passed).toBe(true);
    expect(done).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^Customers notice nothing: /),
        "Slack tickets has the message that AiProviderFailing is firing",
        "Nobody was woken",
      ]),
    );
    expect(left).toEqual([]);
  },
  timeoutMs,
);

test.concurrent.each([
  [
    "service-down",
    [
      "InstanceDown fires as well, and ServiceDown silences it",
      "Nobody was told of InstanceDown",
      expect.stringMatching(/^Customers notice it: 0 of \d+ requests answered, \d+ without an answer/),
    ],
  ],
  [
    "exporter-gone",
    [
      "PagerDuty has the message that ServiceDown is firing",
      "Nobody was told of InstanceDown",
      expect.stringMatching(/^Customers notice nothing: (\d+) of \1 /),
    ],
  ],
  ["process-restarting", ["PagerDuty has the message that ProcessRestarting is firing"]],
  [
    "database-connection-errors",
    [
      "DatabaseConnectionErrors is pending",
      "HighErrorRate fires as well, and DatabaseConnectionErrors silences it",
      "Nobody was told of HighErrorRate",
      expect.stringMatching(/^Customers notice it: .* with 503/),
    ],
  ],
  [
    "pool-exhausted",
    [
      "DatabasePoolSaturated fires as well, and DatabaseConnectionErrors silences it",
      "Nobody was told of DatabasePoolSaturated",
    ],
  ],
  ["slow-queries", [expect.stringMatching(/^SlowQueries fires: .*completions/)]],
])(
  "%s passes and leaves nothing",
  async (name, steps) => {
    const { result, failed, done, left } = await holder.hold(name);
    expect(failed).toEqual([]);
    expect(result.passed).toBe(true);
    expect(done).toEqual(expect.arrayContaining(steps));
    expect(left).toEqual([]);
  },
  timeoutMs,
);
