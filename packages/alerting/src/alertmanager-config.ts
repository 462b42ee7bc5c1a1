// Alertmanager's configuration, read as far as the checked chain and drills need it, with the lines of its parts. That
// all of it is right is amtool's to say, which a test asks.
import { EctusError } from "@ectus/core";
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from "yaml";

export interface AlertmanagerConfig {
  readonly route: Route;
  readonly inhibitions: readonly Inhibition[];
  /** Names of receivers. */
  readonly receivers: readonly string[];
  /** Names of templates of ours that it uses, and where. */
  readonly templates: readonly { readonly name: string; readonly line: number }[];
}

export interface Route {
  readonly line: number;
  readonly receiver: string;
  readonly matchers: readonly AlertMatcher[];
  readonly continue: boolean;
  readonly routes: readonly Route[];
}

export interface Inhibition {
  readonly line: number;
  readonly name: string;
  readonly source: readonly AlertMatcher[];
  readonly target: readonly AlertMatcher[];
  /** Labels that both alerts have with the same value, or both lack. */
  readonly equal: readonly string[];
}

export interface AlertMatcher {
  readonly line: number;
  readonly label: string;
  readonly operator: "=" | "!=" | "=~" | "!~";
  readonly value: string;
}

/**
 * Reads a configuration.
 *
 * @param path for messages
 * @throws EctusError `invalid_alertmanager_config`, with the line of each fault
 */
export function parseAlertmanagerConfig(path: string, text: string): AlertmanagerConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, merge: true });
  const faults: string[] = [];
  const lineOf = (node: unknown): number => lines.linePos((node as Node | null)?.range?.[0] ?? 0).line;
  const fault = (node: unknown, what: string): void => {
    faults.push(`${path}:${lineOf(node)}: ${what}`);
  };
  for (const { pos, message } of document.errors)
    faults.push(`${path}:${lines.linePos(pos[0]).line}: ${message.split("\n")[0]}`);

  const child = (map: YAMLMap, key: string): Node | undefined =>
    (map.get(key, true) as Node | undefined) ?? undefined;
  const maps = (node: Node | undefined, what: string): readonly YAMLMap[] => {
    if (node === undefined) return [];
    const items = isSeq(node) ? node.items : [node];
    return items.filter((item): item is YAMLMap => {
      if (isMap(item)) return true;
      fault(item, `${what} is a list of mappings`);
      return false;
    });
  };
  const textOf = (map: YAMLMap, key: string): string => {
    const node = child(map, key);
    if (node === undefined) return "";
    if (isScalar(node) && typeof node.value === "string") return node.value;
    fault(node, `${key} is a text`);
    return "";
  };
  const texts = (map: YAMLMap, key: string): readonly { readonly node: Node; readonly value: string }[] => {
    const node = child(map, key);
    if (node === undefined) return [];
    if (!isSeq(node)) {
      fault(node, `${key} is a list`);
      return [];
    }
    return node.items.flatMap((item) => {
      if (isScalar(item) && typeof item.value === "string") return [{ node: item, value: item.value }];
      fault(item, `${key} is a list of texts`);
      return [];
    });
  };
  const matchers = (map: YAMLMap, key: string): readonly AlertMatcher[] =>
    texts(map, key).flatMap(({ node, value }) => {
      const matcher = readMatcher(value);
      if (matcher !== undefined) return [{ line: lineOf(node), ...matcher }];
      fault(node, `${value} is no matcher of one label; write it as label="value", with =, !=, =~ or !~`);
      return [];
    });
  const readRoute = (map: YAMLMap, parent: string): Route => {
    const receiver = textOf(map, "receiver") || parent;
    if (!receivers.includes(receiver))
      fault(map, `no receiver is called ${JSON.stringify(receiver)}; there are: ${receivers.join(", ")}`);
    return {
      line: lineOf(map),
      receiver,
      matchers: matchers(map, "matchers"),
      continue: map.get("continue") === true,
      routes: maps(child(map, "routes"), "routes").map((each) => readRoute(each, receiver)),
    };
  };

  const root = isMap(document.contents) ? document.contents : undefined;
  const receivers =
    root === undefined ? [] : maps(child(root, "receivers"), "receivers").map((map) => textOf(map, "name"));
  const [routeMap] = root === undefined ? [] : maps(child(root, "route"), "route");
  if (root === undefined || routeMap === undefined) fault(document.contents, "it has no route; give it one");
  const config: AlertmanagerConfig = {
    route: routeMap === undefined ? noRoute : readRoute(routeMap, ""),
    inhibitions: (root === undefined ? [] : maps(child(root, "inhibit_rules"), "inhibit_rules")).map(
      (map) => {
        const name = textOf(map, "name");
        if (name === "")
          fault(map, "an inhibition has no name; give it one, tests and metrics call it by that");
        return {
          line: lineOf(map),
          name,
          source: matchers(map, "source_matchers"),
          target: matchers(map, "target_matchers"),
          equal: texts(map, "equal").map(({ value }) => value),
        };
      },
    ),
    receivers,
    templates: [...text.matchAll(/\{\{-?\s*template\s+"([^"]+)"/g)].map(({ index, 1: name = "" }) => ({
      name,
      line: lines.linePos(index).line,
    })),
  };
  if (faults.length > 0)
    throw new EctusError("invalid_alertmanager_config", { path, faults: faults.join("\n") });
  return config;
}

const noRoute: Route = { line: 1, receiver: "", matchers: [], continue: false, routes: [] };

/** Whether an alert's labels satisfy all matchers. A label that it lacks is an empty one. */
export function matches(
  matchers: readonly AlertMatcher[],
  labels: Readonly<Record<string, string>>,
): boolean {
  return matchers.every((matcher) => isSatisfied(matcher, labels[matcher.label] ?? ""));
}

function isSatisfied({ operator, value }: AlertMatcher, actual: string): boolean {
  switch (operator) {
    case "=":
      return actual === value;
    case "!=":
      return actual !== value;
    case "=~":
      return anchored(value).test(actual);
    case "!~":
      return !anchored(value).test(actual);
  }
}

/** The routes that an alert ends at: the deepest that take it, more than one only by `continue`. */
export function routesOf(route: Route, labels: Readonly<Record<string, string>>): readonly Route[] {
  if (!matches(route.matchers, labels)) return [];
  const below: Route[] = [];
  for (const child of route.routes) {
    const found = routesOf(child, labels);
    below.push(...found);
    if (found.length > 0 && !child.continue) break;
  }
  return below.length > 0 ? below : [route];
}

/** Whether a firing alert of the first labels silences one of the second. */
export function inhibits(
  { source, target, equal }: Inhibition,
  cause: Readonly<Record<string, string>>,
  symptom: Readonly<Record<string, string>>,
): boolean {
  if (!matches(source, cause) || !matches(target, symptom)) return false;
  // One that is both is not silenced by one that is both, so that none silences itself.
  if (matches(target, cause) && matches(source, symptom)) return false;
  return equal.every((label) => (cause[label] ?? "") === (symptom[label] ?? ""));
}

function anchored(expression: string): RegExp {
  return new RegExp(`^(?:${expression})$`, "s");
}

const matcherPattern = /^\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^\s",{}]+)\s*$/;

function readMatcher(text: string): Omit<AlertMatcher, "line"> | undefined {
  const [, label, operator, raw] = matcherPattern.exec(text) ?? [];
  if (label === undefined || operator === undefined || raw === undefined) return undefined;
  // Its escapes are those of JSON that we use: \\ and \".
  const value = raw.startsWith('"') ? raw.slice(1, -1).replace(/\\(["\\])/g, "$1") : raw;
  return { label, operator: operator as AlertMatcher["operator"], value };
}
