// Prometheus's rule files, read as strictly as Prometheus reads them, with the place of everything in them.
import { readFile } from "node:fs/promises";
import { EctusError } from "@ectus/core";
import { isMap, isPair, isScalar, isSeq, type Node, type Pair, type YAMLMap } from "yaml";
import { durationMs } from "./duration.ts";
import { type Expression, isLabelName, parseExpression } from "./promql.ts";
import {
  type Fault,
  faultIn,
  formatFault,
  isText,
  type Located,
  parseYaml,
  type YamlFile,
} from "./yaml-positions.ts";

export interface RuleFile {
  readonly source: YamlFile;
  readonly groups: readonly RuleGroup[];
}

export interface RuleGroup {
  readonly name: Located;
  readonly interval?: Located;
  readonly queryOffset?: Located;
  readonly labels: Fields;
  readonly rules: readonly Rule[];
}

export type Rule = AlertRule | RecordingRule;

interface CommonRule {
  /** The alert's name, or that of the recorded series. */
  readonly name: Located;
  readonly expression: Expression & { readonly located: Located };
  /** Those of the group are among them. */
  readonly labels: Fields;
}

export interface AlertRule extends CommonRule {
  readonly kind: "alert";
  readonly for?: Located;
  readonly keepFiringFor?: Located;
  readonly annotations: Fields;
}

export interface RecordingRule extends CommonRule {
  readonly kind: "record";
}

/** Texts by their names, as labels and annotations are. */
export type Fields = ReadonlyMap<string, Located>;

const groupFields = ["name", "interval", "query_offset", "limit", "labels", "rules"];
export const ruleFields = ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];

/** @throws EctusError invalid_rule_file, which lists every fault with its line and column */
export async function readRuleFile(path: string): Promise<RuleFile> {
  const { file, faults } = parseRuleFile(path, await readFile(path, "utf8"));
  if (faults.length > 0)
    throw new EctusError("invalid_rule_file", { path, faults: faults.map(formatFault).join("\n") });
  return file;
}

/** What of the file could be read, and what is wrong with it. */
export function parseRuleFile(
  path: string,
  text: string,
): { readonly file: RuleFile; readonly faults: readonly Fault[] } {
  return readRules(parseYaml(path, text));
}

/** The same of a file that has been parsed already. */
export function readRules({ file: source, faults: syntax }: ReturnType<typeof parseYaml>): {
  readonly file: RuleFile;
  readonly faults: readonly Fault[];
} {
  const reader = createReader(source);
  const groups: RuleGroup[] = [];
  // What follows from broken YAML would only hide the one fault that counts.
  if (syntax.length > 0) return { file: { source, groups }, faults: syntax };
  const top = reader.fields(source.root, ["groups"], "a rule file");
  for (const node of reader.list(top.get("groups"), "groups")) groups.push(readGroup(reader, node));
  reader.refuseTwice(
    groups.map(({ name }) => name),
    "group",
  );
  return { file: { source, groups }, faults: reader.faults };
}

type Reader = ReturnType<typeof createReader>;

/** Reads parts of a file and collects what is wrong. What cannot be read is taken to be empty. */
function createReader(source: YamlFile) {
  const faults: Fault[] = [];
  const refuse = (node: Node | null | undefined, message: string) => {
    faults.push(source.faultAt(node?.range?.[0] ?? 0, message));
  };
  const nothing: Located = {
    value: "",
    at: { line: 1, column: 1 },
    range: [0, 0],
    block: false,
    sourceOffset: () => undefined,
  };

  const entries = (node: unknown, what: string): readonly Pair<Node, Node | null>[] => {
    if (node === undefined || node === null) return [];
    if (isMap(node))
      return (node as YAMLMap<Node, Node | null>).items.filter(isPair) as Pair<Node, Node | null>[];
    refuse(node as Node, `${what} is written as "key: value" lines.`);
    return [];
  };

  /** The values of a mapping's fields; one that is not among `accepted` is a fault. */
  const fields = (
    node: unknown,
    accepted: readonly string[],
    what: string,
  ): ReadonlyMap<string, Node | null> => {
    const found = new Map<string, Node | null>();
    for (const { key, value } of entries(node, what)) {
      const name = isScalar(key) ? String(key.value) : "";
      if (accepted.includes(name)) found.set(name, value);
      else refuse(key, `${JSON.stringify(name)} is no field of ${what}. There are: ${accepted.join(", ")}.`);
    }
    return found;
  };

  const list = (node: Node | null | undefined, what: string): readonly Node[] => {
    if (node === undefined || node === null || (isScalar(node) && node.value === null)) return [];
    if (isSeq(node)) return node.items as Node[];
    refuse(node, `"${what}" is a list: each item begins with "- ".`);
    return [];
  };

  const text = (node: Node | null | undefined, what: string): Located | undefined => {
    if (node === undefined) return undefined;
    if (isText(node)) return source.locate(node);
    refuse(node, `${what} is a text. Put quotes around what is none.`);
    return undefined;
  };

  const duration = (node: Node | null | undefined, what: string): Located | undefined => {
    const found = text(node, what);
    if (found !== undefined && durationMs(found.value) === undefined) {
      refuse(
        node,
        `${JSON.stringify(found.value)} is no duration for ${what}. Write one as 30s, 5m or 1h30m.`,
      );
    }
    return found;
  };

  const texts = (node: Node | null | undefined, what: string): Fields => {
    const found = new Map<string, Located>();
    for (const { key, value } of entries(node, what)) {
      const name = isScalar(key) ? String(key.value) : "";
      if (!isLabelName(name) || name === "__name__") {
        refuse(key, `${JSON.stringify(name)} is no name for ${what}. Letters, digits and "_" make one.`);
      }
      const located = text(value, `${what} ${name}`);
      if (located !== undefined) found.set(name, located);
    }
    return found;
  };

  const refuseTwice = (names: readonly Located[], what: string) => {
    const seen = new Set<string>();
    for (const { value, range } of names) {
      if (seen.has(value))
        faults.push(source.faultAt(range[0], `There are two of the ${what} ${value}. Rename or remove one.`));
      seen.add(value);
    }
  };

  return { source, faults, refuse, nothing, fields, list, text, texts, duration, refuseTwice };
}

function readGroup(reader: Reader, node: Node): RuleGroup {
  const found = reader.fields(node, groupFields, "a group");
  const name = reader.text(found.get("name"), "A group's name");
  if (name === undefined || name.value === "") reader.refuse(node, 'This group has no name. Add "name: …".');
  const limit = reader.text(found.get("limit"), "limit");
  if (limit !== undefined && !/^\d+$/.test(limit.value))
    reader.refuse(found.get("limit"), '"limit" is a number, 0 for none.');
  const labels = reader.texts(found.get("labels"), "a label");
  const interval = reader.duration(found.get("interval"), '"interval"');
  const queryOffset = reader.duration(found.get("query_offset"), '"query_offset"');
  const rules = reader
    .list(found.get("rules"), "rules")
    .flatMap((rule) => readRule(reader, rule, labels) ?? []);
  return {
    name: name ?? reader.nothing,
    ...(interval && { interval }),
    ...(queryOffset && { queryOffset }),
    labels,
    rules,
  };
}

function readRule(reader: Reader, node: Node, groupLabels: Fields): Rule | undefined {
  const found = reader.fields(node, ruleFields, "a rule");
  const alert = reader.text(found.get("alert"), '"alert"');
  const record = reader.text(found.get("record"), '"record"');
  const name = alert ?? record;
  if (name === undefined || (alert !== undefined && record !== undefined)) {
    reader.refuse(node, 'A rule has either "alert: NameOfTheAlert" or "record: level:metric:operations".');
    return undefined;
  }
  if (record !== undefined && !/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(record.value)) {
    reader.refuse(
      found.get("record"),
      `${JSON.stringify(record.value)} is no name of a series. Letters, digits, "_" and ":" make one.`,
    );
  }
  const labels: Fields = new Map([...groupLabels, ...reader.texts(found.get("labels"), "a label")]);
  const annotations = reader.texts(found.get("annotations"), "an annotation");
  const waits = {
    for: reader.duration(found.get("for"), '"for"'),
    keepFiringFor: reader.duration(found.get("keep_firing_for"), '"keep_firing_for"'),
  };
  for (const field of record === undefined ? [] : ["for", "keep_firing_for", "annotations"]) {
    if (found.has(field))
      reader.refuse(found.get(field) ?? node, `A recorded series has no "${field}"; alerts have.`);
  }
  const located = reader.text(found.get("expr"), '"expr"');
  if (located === undefined || located.value.trim() === "") {
    reader.refuse(node, `${name.value} has no expression. Add "expr: …".`);
    return undefined;
  }
  const expression = readExpression(reader, located);
  if (expression === undefined) return undefined;
  if (record !== undefined) return { kind: "record", name, expression, labels };
  return {
    kind: "alert",
    name,
    expression,
    labels,
    annotations,
    ...(waits.for && { for: waits.for }),
    ...(waits.keepFiringFor && { keepFiringFor: waits.keepFiringFor }),
  };
}

function readExpression(
  reader: Reader,
  located: Located,
): (Expression & { readonly located: Located }) | undefined {
  try {
    return { ...parseExpression(located.value), located };
  } catch (error) {
    if (!(error instanceof EctusError) || error.code !== "invalid_expression") throw error;
    const { offset, reason } = error.details;
    reader.faults.push(faultIn(reader.source, located, Number(offset), `This is no PromQL: ${reason}.`));
    return undefined;
  }
}
