// Templates in annotations, as far as a typo in them can be found without running them: brackets, functions, labels.
import { externalLabels } from "./alert-labels.ts";
import type { Shape } from "./known-series.ts";
import type { Problem } from "./result-labels.ts";

// Prometheus's template/template.go, and what Go's text/template has itself.
const functions = new Set(
  `query first label value strvalue args tmpl reReplaceAll safeHtml match title toUpper toLower graphLink tableLink
  sortByLabel stripPort stripDomain humanize humanize1024 humanizeDuration humanizePercentage humanizeTimestamp toTime
  toDuration now pathPrefix externalURL parseDuration urlQueryEscape
  and call html index slice js len not or print printf println urlquery eq ge gt le lt ne
  if else end range with define template block break continue nil true false`.split(/\s+/),
);

/** What is wrong in the template of an annotation of an alert whose result has the labels of `result`. */
export function templateProblems(text: string, result: Shape): readonly Problem[] {
  const problems: Problem[] = [];
  for (const { offset, code } of actionsIn(text)) {
    if (code === undefined) {
      problems.push({ offset, message: 'This "{{" is never closed. Close it with "}}".' });
      continue;
    }
    const plain = withoutStrings(code);
    const used = [
      ...plain.matchAll(/(?:\$|(?<![\w$.])\.)(labels|externalLabels)\.(\w+)/gi),
      ...code.matchAll(/\bindex\s+\$(labels|externalLabels)\s+["`]([^"`]+)["`]/g),
    ];
    for (const [, variable = "", name = ""] of used) {
      const ofAlert = variable.toLowerCase() === "labels";
      const known = ofAlert ? [...result.sure] : externalLabels;
      if (known.includes(name) || (ofAlert && result.anyLabel)) continue;
      const message = ofAlert
        ? `The alert's expression does not always have a label ${name}. It has ${known.join(", ") || "none"}.`
        : `Prometheus has no external label ${name}. It has ${known.join(", ")}.`;
      problems.push({ offset, message });
    }
    for (const [, variable = ""] of plain.matchAll(/\$(\w+)/g)) {
      const own = new RegExp(`\\$${variable}\\s*:=|\\$${variable}\\s*,`).test(text);
      if (own || ["labels", "externalLabels", "externalURL", "value"].includes(variable)) continue;
      problems.push({
        offset,
        message: `There is no variable $${variable}. There are: $labels, $externalLabels, $externalURL, $value.`,
      });
    }
    for (const [word] of plain.matchAll(/(?<![\w.$])[a-zA-Z_]\w*/g)) {
      if (!functions.has(word)) problems.push({ offset, message: `Templates have no function ${word}.` });
    }
  }
  return problems;
}

interface Action {
  readonly offset: number;
  /** Undefined where it is not closed. */
  readonly code: string | undefined;
}

/** What stands in double braces. */
export function actionsIn(text: string): readonly Action[] {
  const found: Action[] = [];
  for (let offset = text.indexOf("{{"); offset !== -1; offset = text.indexOf("{{", offset + 2)) {
    const end = /^\{\{(?:"(?:[^"\\]|\\.)*"|`[^`]*`|(?!\}\}|\{\{)[\s\S])*\}\}/.exec(text.slice(offset))?.[0];
    found.push({ offset, code: end?.slice(2, -2) });
  }
  return found;
}

/** Code of a template in which each string is empty, and comments are gone. */
function withoutStrings(code: string): string {
  return code.replace(/"(?:[^"\\]|\\.)*"|`[^`]*`/g, '""').replace(/\/\*[\s\S]*?\*\//g, "");
}
