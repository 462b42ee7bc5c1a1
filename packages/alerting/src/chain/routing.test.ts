import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Mistake, mistakesIn } from "../testing/planted-project.ts";
import { readChainFiles } from "./chain-files.ts";

const original = await readChainFiles(join(import.meta.dirname, "..", "..", "..", ".."));
const faultsOf = mistakesIn(original);

const alerts = "k8s/prometheus/alerts.yaml";
const config = "k8s/prometheus/alertmanager/config.yaml";
const cases = "k8s/prometheus/alertmanager/routes.test.yaml";
const links = "k8s/prometheus/alertmanager/templates/links.tmpl";
const kustomization = "k8s/prometheus/kustomization.yaml";

const mistakes: readonly Mistake[] = [
  {
    what: "a route that no case ends at",
    plant: ({ edit }) =>
      edit(
        config,
        '        - matchers: [severity="page"]\n',
        '        - matchers: [severity="page", area="exports"]\n          receiver: platform-page\n        - matchers: [severity="page"]\n',
      ),
    says: [
      `${config}:`,
      'No case ends at this route. Add one under "routes" of k8s/prometheus/alertmanager/routes.test.yaml',
    ],
  },
  {
    what: "an inhibition that no case exercises",
    plant: ({ edit }) =>
      edit(
        cases,
        /rule: budget-burns-fast\n((?:(?! {2}- name:)[\s\S])*?)inhibited: true/,
        "rule: page-of-the-same\n$1inhibited: false",
      ),
    says: [
      `${config}:`,
      'No case shows what the inhibition silences. Add one of budget-burns-fast with "inhibited: true"',
    ],
  },
  {
    what: "an inhibition that is not what its case says",
    plant: ({ edit }) =>
      edit(
        config,
        'source_matchers: [alertname="ErrorBudgetBurnFast"]',
        'source_matchers: [alertname="HighLatency"]',
      ),
    says: [`${cases}:`, "budget-burns-fast does not silence this target."],
  },
  {
    what: "a case that goes elsewhere",
    plant: ({ edit }) => edit(cases, "receivers: [platform-info]", "receivers: [platform-ticket]"),
    says: [`${cases}:`, "This alert goes to platform-info, not to platform-ticket."],
  },
  {
    what: "a case with a label that the alert does not have",
    plant: ({ edit }) =>
      edit(cases, "area: api, job: ectus }\n    receivers", "area: api, jop: ectus }\n    receivers"),
    says: [`${cases}:`, "HighErrorRate has no label jop."],
  },
  {
    what: "a matcher of a value that no alert has",
    plant: ({ edit }) =>
      edit(
        config,
        "HighErrorRate|HighLatency|InstanceDown|",
        "HighErrorRate|HighLatncy|HighLatency|InstanceDown|",
      ),
    says: [`${config}:`, 'alertname of no alert is ever "HighLatncy".'],
  },
  {
    what: "a matcher of a label that no alert has",
    plant: ({ edit }) =>
      edit(
        config,
        'source_matchers: [alertname="NodeDown"]',
        'source_matchers: [alertname="NodeDown", nod=""]',
      ),
    says: [`${config}:`, "No alert has the label nod."],
  },
  {
    what: "a grouping by a label that no alert has",
    plant: ({ edit }) => edit(config, "group_by: [alertname, area]", "group_by: [alertname, arae]"),
    says: [`${config}:`, "No alert has the label arae."],
  },
  {
    what: "a receiver that no route leads to",
    plant: ({ edit }) =>
      edit(config, "receivers:\n", "receivers:\n  - name: nobody\n    webhook_configs: [{ url_file: /a }]\n"),
    says: [`${config}:`, "No route leads to the receiver nobody."],
  },
  {
    what: "an alert that reaches nobody",
    plant: ({ edit }) =>
      edit(config, /- name: dead-mans-switch\n {4}webhook_configs:[\s\S]*$/, "- name: dead-mans-switch\n"),
    says: [
      `${alerts}:`,
      "Watchdog reaches nobody: its route leads to dead-mans-switch, which sends nothing.",
    ],
  },
  {
    what: "a template that there is not",
    plant: ({ edit }) =>
      edit(
        config,
        '{{ template "ectus.slack.text" . }}',
        '{{ template "ectus.slack.text" . }}{{ template "ectus.slack.txt" . }}',
      ),
    says: [`${config}:`, 'There is no template "ectus.slack.txt". There are:'],
  },
  {
    what: "a template that nothing uses",
    plant: ({ edit }) => edit(links, /$/, '{{ define "ectus.planted" }}{{ end }}'),
    says: [`${links}:`, 'Nothing uses the template "ectus.planted".'],
  },
  {
    what: "a message whose braces are not closed",
    plant: ({ edit }) => edit(links, /$/, "{{ .Status"),
    says: [`${links}:`, 'This "{{" is never closed.'],
  },
  {
    what: "an annotation that no alert has, in a message",
    plant: ({ edit }) => edit(links, ".Annotations.runbook_url", ".Annotations.runbok_url"),
    says: [`${links}:`, "No alert has the annotation runbok_url of .Annotations."],
  },
  {
    what: "a receiver that is not there",
    plant: ({ edit }) => edit(config, "receiver: platform-info", "receiver: platform-inf"),
    says: [`${config}:`, 'no receiver is called "platform-inf"'],
  },

  {
    what: "a time interval that there is not",
    plant: ({ edit }) =>
      edit(
        config,
        "active_time_intervals: [business-hours]",
        "active_time_intervals: [business-hours, evenings]",
      ),
    says: [`${config}:`, "There is no time interval evenings. There are: business-hours."],
  },
  {
    what: "a time interval that nothing uses",
    plant: ({ edit }) =>
      edit(config, "time_intervals:\n", "time_intervals:\n  - name: evenings\n    time_intervals: []\n"),
    says: [`${config}:`, "No route uses the time interval evenings."],
  },
  {
    what: "a page that waits for the morning",
    plant: ({ edit }) =>
      edit(
        config,
        'severity="page"]\n          receiver: platform-page\n',
        'severity="page"]\n          receiver: platform-page\n          active_time_intervals: [business-hours]\n',
      ),
    says: [
      `${config}:`,
      "HighErrorRate is a page and ends at this route, so it waits. Pages wait for no hours: remove active_time_intervals.",
    ],
  },
  {
    what: "rules that nothing loads",
    plant: ({ edit }) => edit(kustomization, "      - objective-rules.yaml\n", ""),
    says: [
      `${kustomization}:1: Nothing loads objective-rules.yaml. Add it to the files of prometheus-rules.`,
    ],
  },
  {
    what: "rules that are loaded, but not checked",
    plant: ({ edit }) =>
      edit(kustomization, "      - alerts.yaml\n", "      - alerts.yaml\n      - more/alerts.yaml\n"),
    says: ["more/alerts.yaml is loaded, but is no rule file right in k8s/prometheus, so nothing checks it."],
  },
  {
    what: "templates that nothing loads",
    plant: ({ edit }) => edit(kustomization, "      - alertmanager/templates/slack.tmpl\n", ""),
    says: ["Nothing loads alertmanager/templates/slack.tmpl. Add it to the files of alertmanager-templates."],
  },
];

describe("the check names exactly", () => {
  test.each(mistakes)("$what", (mistake) => {
    const planted = faultsOf(mistake);
    expect(planted).toHaveLength(1);
    for (const part of mistake.says) expect(planted[0]).toContain(part);
  });
});
