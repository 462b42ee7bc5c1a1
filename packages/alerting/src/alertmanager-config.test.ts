import { describe, expect, test } from "vitest";
import {
  type Inhibition,
  inhibits,
  matches,
  parseAlertmanagerConfig,
  routesOf,
} from "./alertmanager-config.ts";

const config = `
route:
  receiver: all
  routes:
    - matchers: [team="a"]
      routes:
        - matchers:
            - severity=~"page|critical"
            - area!="node"
          receiver: pages
        - matchers: [severity=ticket]
          receiver: tickets
          continue: true
        - matchers: ['severity!~"page"']
          receiver: rest
inhibit_rules:
  - name: down
    source_matchers: [alertname="Down"]
    target_matchers: ['alertname!="Other"']
    equal: [job]
receivers:
  - name: all
    slack_configs: [{ title: '{{ template "a.title" . }}' }]
  - { name: pages }
  - { name: tickets }
  - { name: rest }
`;

describe("a configuration of Alertmanager", () => {
  const parsed = parseAlertmanagerConfig("config.yaml", config);
  const receivers = (labels: Record<string, string>) =>
    routesOf(parsed.route, labels).map(({ receiver }) => receiver);

  test("is read with the lines of its parts", () => {
    expect(parsed.receivers).toEqual(["all", "pages", "tickets", "rest"]);
    expect(parsed.templates).toEqual([{ name: "a.title", line: 23 }]);
    expect(parsed.route.routes[0]?.routes[0]?.matchers[1]).toEqual({
      ...{ line: 9, label: "area", operator: "!=", value: "node" },
    });
    expect(parsed.inhibitions[0]).toMatchObject({ line: 17, name: "down", equal: ["job"] });
  });

  test("routes to the first child that takes an alert, deepest, and on where it says so", () => {
    expect(receivers({ team: "b" })).toEqual(["all"]);
    expect(receivers({ team: "a", severity: "critical" })).toEqual(["pages"]);
    expect(receivers({ team: "a", severity: "page", area: "node" })).toEqual(["all"]);
    expect(receivers({ team: "a", severity: "ticket" })).toEqual(["tickets", "rest"]);
    expect(receivers({ team: "a" })).toEqual(["rest"]);
  });

  test.each([
    [
      "route: { receiver: a }\nreceivers: [{ name: b }]",
      'config.yaml:1: no receiver is called "a"; there are: b',
    ],
    ["receivers: [{ name: b }]", "config.yaml:1: it has no route; give it one"],
    ["", "config.yaml:1: it has no route; give it one"],
    [
      "route: { receiver: b, matchers: [a] }\nreceivers: [{ name: b }]",
      "config.yaml:1: a is no matcher of one label",
    ],
    [
      'route:\n  receiver: b\n  matchers: a="b"\nreceivers: [{ name: b }]',
      "config.yaml:3: matchers is a list",
    ],
    [
      "route:\n  receiver: b\n  routes: [a]\nreceivers: [{ name: b }]",
      "config.yaml:3: routes is a list of mappings",
    ],
    [
      "route: { receiver: b }\nreceivers: [{ name: b }]\ninhibit_rules:\n  - equal: [a]",
      "config.yaml:4: an inhibition has no name",
    ],
    ["route: {\nreceivers", "config.yaml:"],
  ])("is refused with its line: %j", (text, message) => {
    expect(() => parseAlertmanagerConfig("config.yaml", text)).toThrow(message);
  });
});

describe("matchers", () => {
  const matcher = (operator: "=" | "!=" | "=~" | "!~", value: string) => ({
    line: 1,
    label: "a",
    operator,
    value,
  });

  test.each([
    ["=", "x", { a: "x" }, true],
    ["=", "", {}, true],
    ["!=", "", {}, false],
    ["!=", "", { a: "x" }, true],
    ["=~", "x|y", { a: "y" }, true],
    ["=~", "x", { a: "xy" }, false],
    ["!~", "x.*", { a: "xy" }, false],
    ["!~", "x", {}, true],
  ] as const)("%s %j on %j: %s", (operator, value, labels, expected) => {
    expect(matches([matcher(operator, value)], labels)).toBe(expected);
  });
});

describe("an inhibition", () => {
  const rule: Inhibition = {
    ...{ line: 1, name: "same", equal: ["job", "instance"] },
    source: [{ line: 1, label: "severity", operator: "=", value: "page" }],
    target: [{ line: 1, label: "area", operator: "=", value: "node" }],
  };
  const page = { severity: "page", job: "a" };

  test("silences what has the same labels, or lacks the same", () => {
    expect(inhibits(rule, page, { area: "node", job: "a" })).toBe(true);
    expect(inhibits(rule, page, { area: "node", job: "b" })).toBe(false);
    expect(inhibits(rule, page, { area: "node", job: "a", instance: "i" })).toBe(false);
    expect(inhibits(rule, { severity: "ticket", job: "a" }, { area: "node", job: "a" })).toBe(false);
  });

  test("silences neither of two that are both source and target", () => {
    const both = { ...page, area: "node" };
    expect(inhibits(rule, both, both)).toBe(false);
    expect(inhibits(rule, page, both)).toBe(true);
  });
});
