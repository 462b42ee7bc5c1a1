// Templates of Alertmanager's messages: that those which are called exist, that none is left over, and that the labels
// and annotations in them are ones that alerts have. tests/alerting renders them.
import type { Fault } from "../yaml-positions.ts";
import { actionsIn } from "./annotation-template.ts";
import type { ChainContext } from "./chain-context.ts";
import { alertmanagerFolder } from "./chain-files.ts";

interface Named {
  readonly name: string;
  readonly path: string;
  readonly line: number;
}

/** Those that Alertmanager brings. */
const builtIn = /\.default\.|^__/;

export function checkMessageTemplates({ files, alerts }: ChainContext): readonly Fault[] {
  const faults: Fault[] = [];
  const defined: Named[] = [];
  const called: Named[] = [];
  const labels = new Set(alerts.flatMap(({ shape }) => [...shape.labels.keys()]));
  const annotations = new Set(alerts.flatMap(({ rule }) => [...rule.annotations.keys()]));
  for (const { path, text } of files.values()) {
    if (!path.startsWith(`${alertmanagerFolder}/`) || path.endsWith(".test.yaml")) continue;
    for (const { offset, code } of actionsIn(text)) {
      const line = text.slice(0, offset).split("\n").length;
      if (code === undefined) {
        faults.push({ path, line, message: 'This "{{" is never closed. Close it with "}}".' });
        continue;
      }
      for (const [, verb, name = ""] of code.matchAll(/\b(define|template)\s+"([^"]+)"/g)) {
        (verb === "define" ? defined : called).push({ name, path, line });
      }
      for (const [, of = "", kind = "", name = ""] of code.matchAll(
        /\.((?:Common|Group)?)(Labels|Annotations)\.(\w+)/g,
      )) {
        const known = kind === "Labels" ? labels : annotations;
        // What a group or a set of labels can do, as .CommonLabels.SortedPairs, begins with a capital.
        if (known.has(name) || /^[A-Z]/.test(name)) continue;
        const message = `No alert has the ${kind === "Labels" ? "label" : "annotation"} ${name} of .${of}${kind}. There are: ${[...known].sort().join(", ")}.`;
        faults.push({ path, line, message });
      }
    }
  }
  for (const { name, path, line } of called) {
    if (builtIn.test(name) || defined.some((each) => each.name === name)) continue;
    const there = defined.map((each) => each.name).join(", ") || "none";
    faults.push({
      path,
      line,
      message: `There is no template ${JSON.stringify(name)}. There are: ${there}.`,
    });
  }
  for (const { name, path, line } of defined) {
    if (called.some((each) => each.name === name)) continue;
    faults.push({
      path,
      line,
      message: `Nothing uses the template ${JSON.stringify(name)}. Use it, or remove it.`,
    });
  }
  return faults;
}
