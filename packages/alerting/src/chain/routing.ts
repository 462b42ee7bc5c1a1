// Alertmanager's configuration against the alerts: that each reaches somebody, that no route, inhibition or matcher is
// there in vain, and that a case of routes.test.yaml shows each. tests/alerting runs the same cases by Alertmanager itself.
import { EctusError } from "@ectus/core";
import { isMap, isScalar, isSeq, type Node, visit, type YAMLMap } from "yaml";
import {
  type AlertMatcher,
  type AlertmanagerConfig,
  inhibits,
  parseAlertmanagerConfig,
  type Route,
  routesOf,
} from "../alertmanager-config.ts";
import { alternativesOf } from "../promql.ts";
import { type Fault, isText, type YamlFile } from "../yaml-positions.ts";
import { labelsOfRule } from "./alert-labels.ts";
import type { ChainContext, FoundAlert } from "./chain-context.ts";
import { alertmanagerFolder } from "./chain-files.ts";
import { impossibleValue } from "./result-labels.ts";
import { checkTimeIntervals } from "./time-intervals.ts";

const configPath = `${alertmanagerFolder}/config.yaml`;
const casesPath = `${alertmanagerFolder}/routes.test.yaml`;

type LabelSet = Readonly<Record<string, string>>;

interface RouteCase {
  readonly line: number;
  readonly labels: LabelSet;
  readonly receivers: readonly string[];
}

interface InhibitionCase {
  readonly line: number;
  readonly rule: string;
  readonly source: LabelSet;
  readonly target: LabelSet;
  readonly inhibited: boolean;
}

export function checkRouting({ files, alerts }: ChainContext): readonly Fault[] {
  const configFile = files.get(configPath);
  const casesFile = files.get(casesPath);
  if (configFile === undefined) return [missing(configPath, "Alertmanager's configuration")];
  if (casesFile === undefined) return [missing(casesPath, "The cases of Alertmanager's configuration")];
  const { file, faults: syntax } = configFile.yaml();
  const { file: casesYaml, faults: casesSyntax } = casesFile.yaml();
  if (syntax.length + casesSyntax.length > 0) return [...syntax, ...casesSyntax];
  let config: AlertmanagerConfig;
  try {
    config = parseAlertmanagerConfig(configPath, configFile.text);
  } catch (error) {
    if (!(error instanceof EctusError) || error.code !== "invalid_alertmanager_config") throw error;
    return faultsOfMessage(String(error.details.faults));
  }
  const cases = readCases(casesYaml);
  return [
    ...checkReceivers(config, file, alerts),
    ...checkMatchers(config, alerts),
    ...checkLabelNames(file, alerts),
    ...checkTimeIntervals(config, file, alerts),
    ...checkRouteCases(config, cases.routes, alerts),
    ...checkInhibitionCases(config, cases.inhibitions, alerts),
  ];
}

function checkReceivers(
  config: AlertmanagerConfig,
  file: YamlFile,
  alerts: readonly FoundAlert[],
): readonly Fault[] {
  const faults: Fault[] = [];
  const silent = silentReceivers(file);
  for (const { name, rule, file: rules } of alerts) {
    const reached = routesOf(config.route, labelsOfRule(name, rule)).map(({ receiver }) => receiver);
    if (reached.some((receiver) => !silent.has(receiver))) continue;
    const message = `${name} reaches nobody: its route leads to ${reached.join(", ")}, which sends nothing. Give that receiver a slack_configs or the like, or add a route to ${configPath}.`;
    faults.push(rules.source.faultAt(rule.name.range[0], message));
  }
  const routed = new Set(allRoutes(config.route).map(({ receiver }) => receiver));
  const receivers = isMap(file.root) ? file.root.get("receivers", true) : undefined;
  for (const receiver of mapsIn(receivers)) {
    const name = String(receiver.get("name"));
    if (routed.has(name)) continue;
    faults.push(
      file.faultAt(
        receiver.range?.[0] ?? 0,
        `No route leads to the receiver ${name}. Add one, or remove the receiver.`,
      ),
    );
  }
  return faults;
}

/** Names of receivers that have no way of sending. */
function silentReceivers(file: YamlFile): ReadonlySet<string> {
  const receivers = mapsIn(isMap(file.root) ? file.root.get("receivers", true) : undefined);
  const silent = receivers.filter((receiver) =>
    receiver.items.every(({ key, value }) => !String(key).endsWith("_configs") || mapsIn(value).length === 0),
  );
  return new Set(silent.map((receiver) => String(receiver.get("name"))));
}

function checkMatchers(
  { route, inhibitions }: AlertmanagerConfig,
  alerts: readonly FoundAlert[],
): readonly Fault[] {
  const matchers = [
    ...allRoutes(route).flatMap((each) => each.matchers),
    ...inhibitions.flatMap(({ source, target }) => [...source, ...target]),
  ];
  return matchers.flatMap((matcher) => {
    const message = matcherFault(matcher, alerts);
    return message === undefined ? [] : [{ path: configPath, line: matcher.line, message }];
  });
}

function matcherFault(
  { label, operator, value }: AlertMatcher,
  alerts: readonly FoundAlert[],
): string | undefined {
  const rules = alerts.flatMap(({ shape }) => shape.labels.get(label) ?? []);
  if (rules.length === 0) return `No alert has the label ${label}. ${labelsThatThereAre(alerts)}`;
  const alternatives = operator.endsWith("~") ? alternativesOf(value) : [value];
  // What is not there is an empty text, which each label can be.
  for (const alternative of alternatives.filter((each) => each !== "")) {
    const asked = { label, operator, value: alternative, alternatives: [alternative], from: 0 };
    if (rules.some((rule) => impossibleValue(asked, rule) === undefined)) continue;
    return `${label} of no alert is ever ${JSON.stringify(alternative)}. Correct or remove it.`;
  }
  return undefined;
}

/** Labels that are named apart from matchers: what is grouped by, and what has to be equal. */
function checkLabelNames(file: YamlFile, alerts: readonly FoundAlert[]): readonly Fault[] {
  const faults: Fault[] = [];
  visit(file.root, {
    Pair(_, { key, value }) {
      if (!isScalar(key) || (key.value !== "group_by" && key.value !== "equal") || !isSeq(value)) return;
      for (const item of value.items) {
        if (
          !isText(item) ||
          item.value === "..." ||
          alerts.some(({ shape }) => shape.labels.has(String(item.value)))
        )
          continue;
        const message = `No alert has the label ${String(item.value)}. ${labelsThatThereAre(alerts)}`;
        faults.push(file.faultAt(item.range?.[0] ?? 0, message));
      }
    },
  });
  return faults;
}

function checkRouteCases(
  { route }: AlertmanagerConfig,
  cases: readonly RouteCase[],
  alerts: readonly FoundAlert[],
): readonly Fault[] {
  const faults: Fault[] = [];
  const reached = new Set<Route>();
  for (const { line, labels, receivers } of cases) {
    const routes = routesOf(route, labels);
    for (const each of routes) reached.add(each);
    const actual = routes.map(({ receiver }) => receiver);
    const refuse = (message: string) => faults.push({ path: casesPath, line, message });
    if (actual.join() !== receivers.join()) {
      refuse(
        `This alert goes to ${actual.join(", ")}, not to ${receivers.join(", ") || "nobody"}. Correct the case or the route.`,
      );
    }
    for (const message of labelFaults(labels, alerts)) refuse(message);
  }
  for (const each of allRoutes(route)) {
    if (reached.has(each)) continue;
    const message = `No case ends at this route. Add one under "routes" of ${casesPath}; if no alert can, remove the route.`;
    faults.push({ path: configPath, line: each.line, message });
  }
  return faults;
}

function checkInhibitionCases(
  { inhibitions }: AlertmanagerConfig,
  cases: readonly InhibitionCase[],
  alerts: readonly FoundAlert[],
): readonly Fault[] {
  const faults: Fault[] = [];
  for (const { line, rule: name, source, target, inhibited } of cases) {
    const refuse = (message: string) => faults.push({ path: casesPath, line, message });
    const rule = inhibitions.find((each) => each.name === name);
    if (rule === undefined) {
      refuse(
        `No inhibition is called ${JSON.stringify(name)}. There are: ${inhibitions.map((each) => each.name).join(", ")}.`,
      );
    } else if (inhibits(rule, source, target) !== inhibited) {
      refuse(
        `${name} does ${inhibited ? "not silence" : "silence"} this target. Correct the case or the inhibition.`,
      );
    }
    for (const labels of [source, target]) {
      const named = alerts.some((alert) => alert.name === labels.alertname);
      if (!named) refuse(`There is no alert ${labels.alertname ?? "without a name"}. Name one that exists.`);
      for (const message of labelFaults(labels, alerts)) refuse(message);
    }
  }
  for (const { name, line } of inhibitions) {
    for (const inhibited of [true, false]) {
      if (cases.some((each) => each.rule === name && each.inhibited === inhibited)) continue;
      const message = `No case shows ${inhibited ? "what the inhibition silences" : "what the inhibition leaves alone"}. Add one of ${name} with "inhibited: ${inhibited}" to ${casesPath}.`;
      faults.push({ path: configPath, line, message });
    }
  }
  return faults;
}

/** What of these labels the alert that they name never has. A name that no alert has stands for one that is unknown. */
function labelFaults(labels: LabelSet, alerts: readonly FoundAlert[]): readonly string[] {
  const alert = alerts.find(({ name }) => name === labels.alertname);
  if (alert === undefined) return [];
  const wrong = Object.entries(labels).flatMap(([label, value]) => {
    const rule = alert.shape.labels.get(label);
    if (rule === undefined) {
      return alert.shape.anyLabel
        ? []
        : [`${alert.name} has no label ${label}. It has ${[...alert.shape.labels.keys()].join(", ")}.`];
    }
    const asked = { label, operator: "=", value, alternatives: [value], from: 0 } as const;
    return impossibleValue(asked, rule) === undefined
      ? []
      : [`${label} of ${alert.name} is never ${JSON.stringify(value)}.`];
  });
  const lacking = [...alert.rule.labels].filter(([label]) => labels[label] === undefined);
  return [
    ...wrong,
    ...lacking.map(
      ([label, { value }]) => `${alert.name} always has ${label}: ${value}. Add it to the case.`,
    ),
  ];
}

function labelsThatThereAre(alerts: readonly FoundAlert[]): string {
  const names = new Set(alerts.flatMap(({ shape }) => [...shape.labels.keys()]));
  return `They have: ${[...names].sort().join(", ")}.`;
}

function allRoutes(route: Route): readonly Route[] {
  return [route, ...route.routes.flatMap(allRoutes)];
}

function readCases(file: YamlFile): {
  readonly routes: readonly RouteCase[];
  readonly inhibitions: readonly InhibitionCase[];
} {
  const top = isMap(file.root) ? file.root : undefined;
  const lineOf = (map: YAMLMap) => file.positionOf(map.range?.[0] ?? 0).line;
  return {
    routes: mapsIn(top?.get("routes", true)).map((each) => ({
      line: lineOf(each),
      labels: labelSet(each.get("labels", true)),
      receivers: textsIn(each.get("receivers", true)),
    })),
    inhibitions: mapsIn(top?.get("inhibitions", true)).map((each) => ({
      line: lineOf(each),
      rule: String(each.get("rule")),
      source: labelSet(each.get("source", true)),
      target: labelSet(each.get("target", true)),
      inhibited: String(each.get("inhibited")) === "true",
    })),
  };
}

function mapsIn(node: unknown): readonly YAMLMap<Node, Node | null>[] {
  return isSeq(node) ? (node.items.filter(isMap) as YAMLMap<Node, Node | null>[]) : [];
}

function labelSet(node: unknown): LabelSet {
  if (!isMap(node)) return {};
  return Object.fromEntries(
    node.items.map(({ key, value }) => [String(key), isScalar(value) ? String(value.value) : ""]),
  );
}

function textsIn(node: unknown): readonly string[] {
  return isSeq(node) ? node.items.map((item) => (isScalar(item) ? String(item.value) : "")) : [];
}

function faultsOfMessage(faults: string): readonly Fault[] {
  return faults.split("\n").map((fault) => {
    const [, line = "1", message = fault] = /^[^:]+:(\d+): (.*)$/.exec(fault) ?? [];
    return { path: configPath, line: Number(line), message };
  });
}

function missing(path: string, what: string): Fault {
  return { path, line: 1, message: `${what} is not there. Add the file.` };
}
