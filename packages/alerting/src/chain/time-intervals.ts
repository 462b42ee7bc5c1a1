// The times at which Alertmanager tells something or keeps it back: that they exist and are used, and that no page waits
// for them.
import { isMap, isScalar, isSeq, type Scalar, visit } from "yaml";
import { type AlertmanagerConfig, routesOf } from "../alertmanager-config.ts";
import type { Fault, YamlFile } from "../yaml-positions.ts";
import { labelOf, labelsOfRule } from "./alert-labels.ts";
import type { FoundAlert } from "./chain-context.ts";

const references = ["active_time_intervals", "mute_time_intervals"];

export function checkTimeIntervals(
  config: AlertmanagerConfig,
  file: YamlFile,
  alerts: readonly FoundAlert[],
): readonly Fault[] {
  const faults: Fault[] = [];
  const refuse = (node: { readonly range?: readonly number[] | null }, message: string) =>
    faults.push(file.faultAt(node.range?.[0] ?? 0, message));
  const defined = definedIn(file);
  const used = new Set<string>();
  visit(file.root, {
    Map(_, map) {
      for (const { key, value } of map.items) {
        if (!isScalar(key) || !references.includes(String(key.value)) || !isSeq(value)) continue;
        for (const item of value.items.filter(isScalar)) {
          const name = String(item.value);
          used.add(name);
          if (!defined.has(name))
            refuse(
              item,
              `There is no time interval ${name}. There are: ${[...defined.keys()].join(", ") || "none"}.`,
            );
        }
        const line = file.positionOf(map.range?.[0] ?? 0).line;
        const page = alerts.find(
          ({ name, rule }) =>
            labelOf(rule, "severity") === "page" &&
            routesOf(config.route, labelsOfRule(name, rule)).some((route) => route.line === line),
        );
        if (page !== undefined)
          refuse(
            key,
            `${page.name} is a page and ends at this route, so it waits. Pages wait for no hours: remove ${key.value}.`,
          );
      }
    },
  });
  for (const [name, node] of defined) {
    if (!used.has(name)) refuse(node, `No route uses the time interval ${name}. Use it, or remove it.`);
  }
  return faults;
}

function definedIn({ root }: YamlFile): ReadonlyMap<string, Scalar> {
  const list = isMap(root) ? root.get("time_intervals") : undefined;
  const names = isSeq(list) ? list.items.filter(isMap).map((item) => item.get("name", true)) : [];
  return new Map(names.filter(isScalar).map((name) => [String(name.value), name]));
}
