// What every alert must be: labelled, explained, linked to its runbook, and right in what it says of its labels.
import { ruleFields } from "../rule-files.ts";
import type { Fault, Located, YamlFile } from "../yaml-positions.ts";
import { faultIn } from "../yaml-positions.ts";
import { alertAnnotations, alertLabels, fileNameOf, labelOf } from "./alert-labels.ts";
import { templateProblems } from "./annotation-template.ts";
import type { ChainContext, FoundAlert } from "./chain-context.ts";

/** Functions whose result grows with the window, so that a shorter one would change what an alert means. */
const absolute: Readonly<Record<string, string>> = { increase: "rate", delta: "deriv", idelta: "deriv" };

/** Metrics that say how busy something is. That is a cause, perhaps; nobody is woken for one. */
const ofCpuOrMemory = /_cpu_|_memory_|_load\d|eventloop|_heap_/;

export function checkAlerts({ alerts, recordings, known }: ChainContext): readonly Fault[] {
  const faults: Fault[] = [];
  const seen = new Map<string, FoundAlert>();
  for (const alert of alerts) {
    const first = seen.get(alert.name);
    if (first !== undefined) {
      const where = `${first.file.source.path}:${first.rule.name.at.line}`;
      faults.push(
        fault(
          alert,
          alert.rule.name,
          `There is an alert ${alert.name} already, in ${where}. Give this one another name.`,
        ),
      );
    }
    seen.set(alert.name, alert);
    faults.push(...checkLabels(alert), ...checkAnnotations(alert));
    const madeFrom = alert.result.metrics.flatMap((name) => [...(known.find(name)?.madeFrom ?? [])]);
    const busy = madeFrom.find((name) => ofCpuOrMemory.test(name));
    if (busy !== undefined && labelOf(alert.rule, "severity") === "page") {
      const message = `${alert.name} wakes somebody for ${busy}, which is a cause and no harm. Make its severity ticket.`;
      faults.push(fault(alert, alert.rule.labels.get("severity") ?? alert.rule.name, message));
    }
  }
  for (const { rule, file } of [...alerts, ...recordings]) {
    for (const { name, from } of rule.expression.calls) {
      const instead = absolute[name];
      if (instead === undefined) continue;
      const message = `${name}() depends on the length of its window, so that a drill with shorter ones would not test this rule. Use ${instead}().`;
      faults.push(faultIn(file.source, rule.expression.located, from, message));
    }
  }
  return faults;
}

function checkLabels(alert: FoundAlert): readonly Fault[] {
  const { name, rule, result } = alert;
  const faults: Fault[] = [];
  if (!/^[A-Z][a-zA-Z0-9]+$/.test(name)) {
    faults.push(
      fault(
        alert,
        rule.name,
        `An alert is called as HighErrorRate is: ${JSON.stringify(name)} is not. Rename it.`,
      ),
    );
  }
  for (const [label, accepted] of Object.entries(alertLabels)) {
    const located = rule.labels.get(label);
    if (located === undefined) {
      faults.push(
        fault(alert, rule.name, `${name} has no label ${label}. Add one of: ${accepted.join(", ")}.`),
      );
    } else if (!accepted.includes(located.value)) {
      const message = `${label} of ${name} is ${JSON.stringify(located.value)}. It is one of: ${accepted.join(", ")}.`;
      faults.push(fault(alert, located, message));
    }
  }
  for (const [label, located] of rule.labels) {
    if (Object.hasOwn(alertLabels, label)) continue;
    const message = ruleFields.includes(label)
      ? `${label} is among the labels of ${name}. It is a field of the rule: write it beside "labels".`
      : result.shape.labels.has(label)
        ? `The label ${label} of ${name} hides the one of its expression. Remove it.`
        : `Alerts have no label ${label}. They have ${Object.keys(alertLabels).join(", ")}; a new one belongs into packages/alerting/src/chain/alert-labels.ts.`;
    faults.push(fault(alert, located, message));
  }
  return faults;
}

function checkAnnotations(alert: FoundAlert): readonly Fault[] {
  const { name, rule, file, shape } = alert;
  const faults: Fault[] = [];
  for (const annotation of alertAnnotations) {
    const located = rule.annotations.get(annotation);
    if (located === undefined || located.value.trim() === "") {
      faults.push(
        fault(
          alert,
          rule.name,
          `${name} has no annotation ${annotation}. Add it; the alerts beside it show how.`,
        ),
      );
    }
  }
  const runbook = rule.annotations.get("runbook_url");
  const expected = `{{ $externalLabels.runbooks_url }}/${fileNameOf(name)}.md`;
  if (runbook !== undefined && runbook.value !== expected) {
    faults.push(fault(alert, runbook, `runbook_url of ${name} leads nowhere. It has to be '${expected}'.`));
  }
  const traces = rule.annotations.get("traces_url");
  if (traces !== undefined && !traces.value.startsWith("{{ $externalLabels.traces_url }}/search?")) {
    faults.push(
      fault(
        alert,
        traces,
        `traces_url of ${name} has to begin with '{{ $externalLabels.traces_url }}/search?'.`,
      ),
    );
  }
  for (const [annotation, located] of rule.annotations) {
    for (const { offset, message } of templateProblems(located.value, shape)) {
      faults.push(faultIn(file.source, located, offset, `${annotation} of ${name}: ${message}`));
    }
  }
  return faults;
}

function fault(
  { file }: { readonly file: { readonly source: YamlFile } },
  located: Located,
  message: string,
): Fault {
  return file.source.faultAt(located.range[0], message);
}
