// The service's objective, stated once, and the rules that are computed from it. k8s/prometheus/objective-rules.yaml is
// what this file makes: `node tools/check/generated.ts --write` rewrites it, and `npm run check` refuses a stale one.
//
// Windows and factors are those of "Alerting on SLOs" in Google's SRE workbook (https://sre.google/workbook/alerting-on-slos/,
// table 5-8): a budget that burns by the factor all through the long window has lost 2, 5, 10 or 10 % of itself; the short
// window, a twelfth of the long one, ends the alert soon after the failures end.

const objective = {
  /** Share of requests that do not fail. */
  availability: 0.999,
  /** Over how many days. */
  days: 30,
  /**
   * Requests a second, over the long window, from which on it is judged: six a minute. With fewer, one failure in a
   * night's few requests would be a burning budget.
   */
  leastRequestsPerSecond: 0.1,
} as const;

/** Failed requests a month that the objective allows, as a share of all. */
const budget = Number((1 - objective.availability).toPrecision(6));

interface BurnWindows {
  readonly long: string;
  readonly short: string;
  /** How many times faster than the whole period allows. */
  readonly factor: number;
}

interface BurnAlert {
  readonly name: string;
  readonly severity: "page" | "ticket";
  readonly for: string;
  /** A window in which the budget still burns, at any rate that would use it up. */
  readonly stillOver?: "5m";
  readonly runbook: string;
  readonly lookback: string;
  readonly windows: readonly [BurnWindows, BurnWindows];
}

const burnAlerts: readonly BurnAlert[] = [
  {
    name: "ErrorBudgetBurnFast",
    severity: "page",
    // Longer than HighErrorRate takes: what fails that often is told once, by that alert, which silences this one.
    for: "7m",
    // A short outage fills the half hour for another half hour; once nothing fails, nobody is woken for it any more.
    stillOver: "5m",
    runbook: "error-budget-burn-fast",
    lookback: "1h",
    windows: [
      { long: "1h", short: "5m", factor: 14.4 },
      { long: "6h", short: "30m", factor: 6 },
    ],
  },
  {
    name: "ErrorBudgetBurnSlow",
    severity: "ticket",
    for: "15m",
    runbook: "error-budget-burn-slow",
    lookback: "6h",
    windows: [
      { long: "1d", short: "2h", factor: 3 },
      { long: "3d", short: "6h", factor: 1 },
    ],
  },
];

const shortToLong = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"] as const;

/** The rule file's text. */
export function renderObjectiveRules(): string {
  const longWindows = shortToLong.filter((window) =>
    burnAlerts.some(({ windows }) => windows.some(({ long }) => long === window)),
  );
  return `# Generated from packages/alerting/src/objective.ts by: node tools/check/generated.ts --write
# The service's objective: ${percent(objective.availability)} of requests do not fail, over ${objective.days} days.
groups:
  - name: objective-ratios
    rules:
      # Requests that count: all that a route was found for but probes.
${longWindows.map(requestsRule).join("")}      # Share of them that failed: answered with a status of 500 or more, or broken off later by a fault that was not the
      # client's. A job without any failure has 0, one without requests has nothing.
${shortToLong.map(ratioRule).join("")}
  - name: objective-alerts
    rules:
${burnAlerts.map(alertRule).join("")}`;
}

const eligible = '{job="ectus", path!~"/health/.*|unmatched"}';
const requestsOver = (window: string): string =>
  `sum by (job) (rate(http_requests_total${eligible}[${window}]))`;

function requestsRule(window: string): string {
  return `      - record: job:http_requests:rate${window}
        expr: ${requestsOver(window)}
`;
}

function ratioRule(window: string): string {
  // Series without requests that failed are absent, so those of all requests stand in for them, as 0.
  return `      - record: job:http_requests:failed_ratio_rate${window}
        expr: |-
          sum by (job) (
            rate(http_request_errors_total${eligible}[${window}])
            or rate(http_responses_broken_total${eligible}[${window}])
            or 0 * rate(http_requests_total${eligible}[${window}])
          )
          / (${requestsOver(window)} > 0)
`;
}

function alertRule({
  name,
  severity,
  for: pending,
  stillOver,
  runbook,
  lookback,
  windows,
}: BurnAlert): string {
  const [first, second] = windows;
  const either = `${burns(first)}\nor\n${burns(second)}`;
  const expression =
    stillOver === undefined
      ? either
      : `(\n${indent(either, 2)}\n)\nand on (job) job:http_requests:failed_ratio_rate${stillOver} > ${budget}`;
  return `      - alert: ${name}
        expr: |-
${indent(expression, 10)}
        for: ${pending}
        labels: { severity: ${severity}, team: platform, area: objective }
        annotations:
          summary: '{{ $value | humanizePercentage }} of requests fail: the error budget burns ${severity === "page" ? "fast" : "too fast"}'
          description: >-
            {{ $value | humanizePercentage }} of requests have failed over ${first.long} or ${second.long}. At that rate the error budget of ${objective.days} days, which is ${percent(budget)} of requests, lasts for less than ${daysLeft(second)} days. Customers see errors.
          runbook_url: '{{ $externalLabels.runbooks_url }}/${runbook}.md'
          traces_url: '{{ $externalLabels.traces_url }}/search?service=ectus&tags=%7B%22error%22%3A%22true%22%7D&lookback=${lookback}'
`;
}

function burns({ long, short, factor }: BurnWindows): string {
  const threshold = `${factor} * ${budget}`;
  return `(
  job:http_requests:failed_ratio_rate${long} > ${threshold}
  and on (job) job:http_requests:failed_ratio_rate${short} > ${threshold}
  and on (job) job:http_requests:rate${long} > ${objective.leastRequestsPerSecond}
)`;
}

const percent = (share: number): string => `${Number((share * 100).toPrecision(6))} %`;
const daysLeft = ({ factor }: BurnWindows): string =>
  String(Number((objective.days / factor).toPrecision(2)));

function indent(text: string, by: number): string {
  return text.replaceAll(/^/gm, " ".repeat(by));
}
