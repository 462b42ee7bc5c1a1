import { join } from "node:path";
import { catalogue } from "@ectus/monitoring";
import { describe, expect, test } from "vitest";
import { type Mistake, mistakesIn, type PlantedProject, plantIn } from "../testing/planted-project.ts";
import { formatFault } from "../yaml-positions.ts";
import { type ChainOptions, checkChain, checkChainFiles } from "./chain.ts";
import { readChainFiles } from "./chain-files.ts";

const alerts = "k8s/prometheus/alerts.yaml";
const recordings = "k8s/prometheus/recording-rules.yaml";
const runbook = "docs/runbooks/high-error-rate.md";
const ruleTest = "k8s/prometheus/tests/high-error-rate.test.yaml";

const faultsIn = ({ files }: PlantedProject, options: ChainOptions = {}) =>
  checkChainFiles(files, options).map(formatFault);

// Read once: all tests see the same files, also while somebody works on them.
const original = await readChainFiles(join(import.meta.dirname, "..", "..", "..", ".."));
const faultsOf = mistakesIn(original);

test("the project's own chain is whole", () => {
  expect(checkChainFiles(original).map(formatFault)).toEqual([]);
});

test("a project without rules has no chain, one that lacks a rule file has a fault", async () => {
  expect(await checkChain(import.meta.dirname)).toEqual([]);
  const project = plantIn(original);
  project.remove(recordings);
  expect(faultsIn(project)).toEqual([
    `${recordings}:1: This rule file is not there. Prometheus is to load it.`,
  ]);
});

/** The fields of an alert, up to and with the start of one of them. */
const within = (alert: string, field: string) =>
  new RegExp(`(- alert: ${alert}\\n(?:(?!- alert:)[\\s\\S])*?)${field}`);

/** Adds a recorded series, and a query in a runbook that uses it. */
function record({ edit }: PlantedProject, name: string, expr: string): void {
  const rule = `      - record: ${name}\n        expr: ${expr}\n`;
  edit(recordings, "  - name: node\n    rules:\n", `  - name: node\n    rules:\n${rule}`);
  edit(runbook, "## Rollback\n", `## Rollback\n\n\`\`\`promql run\n${name}\n\`\`\`\n`);
}

const inRules: readonly Mistake[] = [
  {
    what: "a line that is no YAML",
    plant: ({ edit }) => edit(alerts, within("HighErrorRate", "        for: 5m"), "$1       for: 5m"),
    says: [`${alerts}:`, "This is no valid YAML"],
  },
  {
    what: "a field that Prometheus does not know",
    plant: ({ edit }) => edit(alerts, within("HighErrorRate", "for: "), "$1fro: "),
    says: [`${alerts}:`, '"fro" is no field of a rule. There are: record, alert, expr, for,'],
  },
  {
    what: "an expression that cannot be parsed",
    plant: ({ edit }) => edit(alerts, 'up{job="node"} == 0', 'up{job="node"} = 0'),
    says: [`${alerts}:`, 'This is no PromQL: "=" is not expected here.'],
  },
  {
    what: "a metric that nothing exposes",
    plant: ({ edit }) =>
      edit(recordings, "rate(db_query_duration_seconds_bucket", "rate(db_query_duration_second_bucket"),
    says: [
      `${recordings}:`,
      "Nothing exposes db_query_duration_second_bucket. Is db_query_duration_seconds_bucket meant?",
    ],
  },
  {
    what: "a histogram without its suffix",
    plant: ({ edit }) =>
      edit(recordings, "rate(db_query_duration_seconds_bucket", "rate(db_query_duration_seconds"),
    says: ["db_query_duration_seconds is a histogram. Use db_query_duration_seconds_bucket,"],
  },
  {
    what: "a label that the metric does not have",
    plant: ({ edit }) =>
      edit(
        recordings,
        'db_query_duration_seconds_bucket{job="ectus"',
        'db_query_duration_seconds_bucket{job="ectus", tenant="a"',
      ),
    says: [
      `${recordings}:`,
      "db_query_duration_seconds_bucket has no label tenant. It has job, instance,",
      "operation, table, le.",
    ],
  },
  {
    what: "a sum by a label that is not there",
    plant: ({ edit }) =>
      edit(recordings, "sum by (job, operation, le)", "sum by (job, operation, le, tabel)"),
    says: ["What sum is taken of has no label tabel."],
  },
  {
    what: "a value that the label never has",
    plant: ({ edit }) => edit(alerts, '"CrashLoopBackOff"', '"CrashLoopBackof"'),
    says: [
      `${alerts}:`,
      'reason of kube_pod_container_status_waiting_reason is never "CrashLoopBackof". It is one of:',
    ],
  },
  {
    what: "the job of another program",
    plant: ({ edit }) =>
      edit(
        alerts,
        'rate(prometheus_rule_evaluation_failures_total{job="prometheus"',
        'rate(prometheus_rule_evaluation_failures_total{job="ectus"',
      ),
    says: ['job of prometheus_rule_evaluation_failures_total is never "ectus". It is one of: prometheus.'],
  },
  {
    what: "two sides that never match",
    plant: ({ edit }) =>
      edit(alerts, within("EventLoopLag", "> 0\\.2"), '$1> 0.2 and sum by (job) (up{job="ectus"})'),
    says: ["The two sides never match, since only one of them has the label instance, node"],
  },
  {
    what: "a recorded series that nothing records",
    plant: ({ edit }) =>
      edit(runbook, /```promql run\n[\s\S]*?```/, "```promql run\njob:http_requests:rate7m\n```"),
    says: [`${runbook}:`, "No rule records job:http_requests:rate7m. Is job:http_requests:rate"],
  },
  {
    what: "a recorded series that nothing uses",
    plant: ({ edit }) =>
      edit(
        recordings,
        "  - name: node\n    rules:\n",
        "  - name: node\n    rules:\n      - record: job:up:sum\n        expr: sum by (job) (up)\n",
      ),
    says: [`${recordings}:`, "Nothing uses job:up:sum. Use it in"],
  },
  {
    what: "a recorded series without a level",
    plant: (project) => record(project, "up_sum", "sum(up)"),
    says: ["up_sum is not called level:metric:operations, as job:http_requests:rate5m is. Rename it."],
  },
  {
    what: "a recorded series of a level that it does not have",
    plant: (project) => record(project, "pod:up:sum", "sum by (job) (up)"),
    says: ["pod:up:sum is of the level pod, but its result has the labels job."],
  },
  {
    what: "a mistake in a rule file of its own",
    plant: ({ write }) =>
      write("k8s/prometheus/more.yaml", "groups:\n  - name: more\n    rules:\n      - alert: More\n"),
    says: ["k8s/prometheus/more.yaml:4:9: More has no expression."],
  },
  {
    what: "an increase, which a shorter window would change",
    plant: ({ edit }) => edit(alerts, within("TraceSpansDropped", "rate\\("), "$1increase("),
    says: [`${alerts}:`, "increase() depends on the length of its window"],
  },
];

const inAlerts: readonly Mistake[] = [
  {
    what: "an alert without a severity",
    plant: ({ edit }) => edit(alerts, within("ExportFailed", "severity: ticket, "), "$1"),
    says: [`${alerts}:`, "ExportFailed has no label severity. Add one of: page, ticket, info."],
  },
  {
    what: "an alert of a severity that nobody knows",
    plant: ({ edit }) => edit(alerts, within("ExportFailed", "severity: ticket"), "$1severity: urgent"),
    says: ['severity of ExportFailed is "urgent". It is one of: page, ticket, info.'],
  },
  {
    what: "an alert of an area that nobody knows",
    plant: ({ edit }) => edit(alerts, within("ExportFailed", "area: exports"), "$1area: export"),
    says: ['area of ExportFailed is "export". It is one of: api,'],
  },
  {
    what: "an alert without a description",
    plant: ({ edit }) => edit(alerts, within("ExportFailed", "description:"), "$1details:"),
    says: ["ExportFailed has no annotation description."],
  },
  {
    what: "a link to another alert's runbook",
    plant: ({ edit }) => edit(alerts, "/export-failed.md", "/export-fail.md"),
    says: [
      "runbook_url of ExportFailed leads nowhere. It has to be '{{ $externalLabels.runbooks_url }}/export-failed.md'.",
    ],
  },
  {
    what: "a label that the alert does not have in its summary",
    plant: ({ edit }) => edit(alerts, within("EventLoopLag", "\\$labels\\.instance"), "$1$$labels.instanc"),
    says: [
      `${alerts}:`,
      "summary of EventLoopLag: The alert's expression does not always have a label instanc.",
    ],
  },
  {
    what: "a function that templates do not have",
    plant: ({ edit }) => edit(alerts, within("EventLoopLag", "humanizeDuration"), "$1humaniseDuration"),
    says: ["of EventLoopLag: Templates have no function humaniseDuration."],
  },
  {
    what: "braces that are not closed",
    plant: ({ edit }) =>
      edit(alerts, within("EventLoopLag", "\\$labels\\.instance \\}\\}"), "$1$$labels.instance }"),
    says: ['summary of EventLoopLag: This "{{" is never closed.'],
  },
  {
    what: "a variable that templates do not have",
    plant: ({ edit }) => edit(alerts, within("EventLoopLag", "\\$labels\\.instance"), "$1$$instance"),
    says: ["summary of EventLoopLag: There is no variable $instance. There are: $labels,"],
  },
  {
    what: "an external label that Prometheus does not have",
    plant: ({ edit }) =>
      edit(alerts, within("EventLoopLag", "\\$labels\\.instance"), "$1$$externalLabels.cluster"),
    says: ["summary of EventLoopLag: Prometheus has no external label cluster."],
  },
  {
    what: "a link to traces that leads elsewhere",
    plant: ({ edit }) =>
      edit(alerts, within("ExportFailed", "traces_url \\}\\}/search"), "$1traces_url }}/trace"),
    says: ["traces_url of ExportFailed has to begin with"],
  },
  {
    what: "two alerts of one name",
    plant: ({ edit }) =>
      edit(
        alerts,
        within("ExportFailed", ""),
        "- alert: ExportFailed\n        expr: up == 0\n        labels: { severity: ticket, team: platform, area: exports }\n        annotations: { summary: s, description: d, runbook_url: '{{ $$externalLabels.runbooks_url }}/export-failed.md', traces_url: '{{ $$externalLabels.traces_url }}/search?' }\n      $1",
      ),
    says: ["There is an alert ExportFailed already, in k8s/prometheus/alerts.yaml:"],
  },
  {
    what: "a page for a busy processor",
    plant: ({ edit }) => {
      edit(alerts, within("NodeCpuHigh", "severity: ticket"), "$1severity: page");
      edit("docs/runbooks/README.md", "(node-cpu-high.md) | ticket", "(node-cpu-high.md) | page");
    },
    says: ["NodeCpuHigh wakes somebody for node_cpu_seconds_total, which is a cause and no harm."],
  },
  {
    what: "an alert that compares nothing",
    plant: ({ edit }) => edit(alerts, within("EventLoopLag", " > 0\\.2"), "$1"),
    says: [`${alerts}:`, "The alert fires for as long as there are series, since nothing is left out"],
  },
  {
    what: "a comparison whose result is there in any case",
    plant: ({ edit }) => edit(alerts, within("EventLoopLag", "> 0\\.2"), "$1> bool 0.2"),
    says: [`${alerts}:`, "Compare with a threshold, without bool."],
  },
  {
    what: "a counter without its rate",
    plant: ({ edit }) =>
      edit(
        alerts,
        'sum by (job) (rate(db_connection_errors_total{job="ectus"}[5m]))',
        'sum by (job) (db_connection_errors_total{job="ectus"})',
      ),
    says: [`${alerts}:`, "db_connection_errors_total is a counter: it has grown since its process began."],
  },
  {
    what: "a status that is none",
    plant: ({ write }) =>
      write(
        "k8s/prometheus/tests/planted.test.yaml",
        "tests:\n  - input_series:\n      - series: 'http_requests_total{status=\"5xx\"}'\n",
      ),
    says: [':3:38: status of http_requests_total is never "5xx". It is a status code, as 503, or 5.. for'],
  },
  {
    what: "a label that alerts do not have",
    plant: ({ edit }) =>
      edit(alerts, within("ExportFailed", "area: exports"), "$1area: exports, sevrity: page"),
    says: [`${alerts}:`, "Alerts have no label sevrity. They have severity, team, area;"],
  },
  {
    what: "a label that hides which instance it is",
    plant: ({ edit }) =>
      edit(alerts, within("EventLoopLag", "area: process"), "$1area: process, instance: a"),
    says: [`${alerts}:`, "The label instance of EventLoopLag hides the one of its expression. Remove it."],
  },
  {
    what: "a field of the rule among its labels",
    plant: ({ edit }) => edit(alerts, within("ExportFailed", "area: exports"), "$1area: exports, for: 5m"),
    says: ['for is among the labels of ExportFailed. It is a field of the rule: write it beside "labels".'],
  },
  {
    what: "a label by index that the alert does not have",
    plant: ({ edit }) =>
      edit(alerts, within("EventLoopLag", "\\$labels\\.instance"), '$1index $$labels "instanc"'),
    says: ["summary of EventLoopLag: The alert's expression does not always have a label instanc."],
  },
  {
    what: "an alert without tests",
    plant: ({ remove }) => remove(ruleTest),
    says: [
      `${alerts}:`,
      `HighErrorRate lacks a test. Add to ${ruleTest}, under alert_rule_test, one in which it fires`,
      "and one in which it does not",
    ],
  },
  {
    what: "an alert whose tests only fire",
    plant: ({ edit }) => edit(ruleTest, /exp_alerts: \[\]/g, "exp_alerts: [{ exp_labels: {} }]"),
    says: [
      `HighErrorRate lacks a test. Add to ${ruleTest}, under alert_rule_test, one in which it does not (exp_alerts: []).`,
    ],
  },
  {
    what: "a test of an alert that there is not",
    plant: ({ write }) =>
      write(
        "k8s/prometheus/tests/planted.test.yaml",
        "tests:\n  - alert_rule_test:\n      - alertname: Planted\n        exp_alerts: []\n",
      ),
    says: ["k8s/prometheus/tests/planted.test.yaml:3:20: There is no alert Planted."],
  },
  {
    what: "a test of series that nothing exposes",
    plant: ({ write }) =>
      write(
        "k8s/prometheus/tests/planted.test.yaml",
        "tests:\n  - input_series:\n      - series: 'upp{job=\"ectus\"}'\n        values: 0\n",
      ),
    says: ["k8s/prometheus/tests/planted.test.yaml:3:18: Nothing exposes upp. Is up meant?"],
  },
];

describe("the check names exactly", () => {
  test.each([...inRules, ...inAlerts])("$what", (mistake) => {
    const planted = faultsOf(mistake);
    expect(planted).toHaveLength(1);
    for (const part of mistake.says) expect(planted[0]).toContain(part);
  });

  test("a metric that says it is for an alert which does not ask for it, or does not exist", () => {
    const http_active_connections = {
      ...catalogue.http_active_connections,
      usedBy: ["alert HighErrorRate", "alert Planted"],
    };
    const faults = faultsIn(plantIn(original), { metrics: { ...catalogue, http_active_connections } });
    expect(faults.filter((fault) => fault.includes("http_active_connections"))).toEqual([
      expect.stringMatching(
        /^packages\/monitoring\/src\/catalogue\/http\.ts:\d+: usedBy of http_active_connections names the alert HighErrorRate, whose expression does not ask for it\./,
      ),
      expect.stringContaining("names the alert Planted, which there is not."),
    ]);
  });

  test("an alert that asks for a metric which does not say so", () => {
    const db_slow_queries_total = { ...catalogue.db_slow_queries_total, usedBy: ["dashboard database"] };
    const faults = faultsIn(plantIn(original), { metrics: { ...catalogue, db_slow_queries_total } });
    expect(faults.filter((fault) => fault.includes("db_slow_queries_total"))).toEqual([
      expect.stringContaining(
        'The alert SlowQueries asks for db_slow_queries_total, whose usedBy does not say so. Add "alert SlowQueries" there.',
      ),
    ]);
  });
});
