// Runbooks: one for each alert, with the same sections, and nothing in them that no test runs.
import type { Fault } from "../yaml-positions.ts";
import { alertLabels, fileNameOf, labelOf } from "./alert-labels.ts";
import type { ChainContext, FoundExpression } from "./chain-context.ts";
import { type ChainFile, type ChainFiles, filesIn, guidesFolder, runbooksFolder } from "./chain-files.ts";

/** The list of all runbooks. */
const listPath = `${runbooksFolder}/README.md`;

const sections = [
  "What it means",
  "Impact",
  "First five minutes",
  "Diagnosis",
  "Mitigation",
  "Rollback",
  "Escalation",
  "Afterwards",
  "Why this threshold",
];

/** Runbooks that belong to no alert: what to do when something is known already. */
const withoutAlert = ["data-corruption", "deployment-rollback", "security-incident", "service-degradation"];

/** A query that has an answer while the runbook's alert fires. */
const firing = "promql run firing";

/** How blocks of these languages are marked; tests/runbooks runs those. */
const marks: Readonly<Record<string, readonly string[]>> = {
  promql: ["promql run", firing],
  sql: ["sql run"],
  sh: ["sh run"],
};
const otherNames: Readonly<Record<string, string>> = {
  bash: "sh",
  shell: "sh",
  console: "sh",
  zsh: "sh",
  psql: "sql",
};

export interface Document {
  /** As "high-error-rate". */
  readonly name: string;
  readonly path: string;
  readonly headings: readonly string[];
  /** Headings that another one, or the end, follows at once. */
  readonly emptySections: readonly string[];
  readonly blocks: readonly Block[];
}

interface Block {
  /** What stands behind the fence, as "promql run". */
  readonly info: string;
  readonly code: string;
  /** Where the fence is. */
  readonly line: number;
  /** By how much the block is indented. */
  readonly indent: number;
}

export function readRunbooks(files: ChainFiles): readonly Document[] {
  return filesIn(files, runbooksFolder)
    .filter(({ path }) => path !== listPath)
    .map(readDocument);
}

/** The guides of docs/operations, for their queries. */
export function readGuides(files: ChainFiles): readonly Document[] {
  return filesIn(files, guidesFolder).map(readDocument);
}

function readDocument({ path, text }: ChainFile): Document {
  const headings = [...text.matchAll(/^## (.+?)\s*$/gm)].map(([, heading = ""]) => heading);
  const name = path.slice(path.lastIndexOf("/") + 1, -".md".length);
  const emptySections = [...text.matchAll(/^## (.+?)\s*$(?=\s*(?:^## |(?![\s\S])))/gm)].map(
    ([, heading = ""]) => heading,
  );
  return { name, path, headings, emptySections, blocks: blocksOf(text) };
}

export function checkRunbooks({ alerts }: ChainContext, runbooks: readonly Document[]): readonly Fault[] {
  const faults: Fault[] = [];
  for (const { name, rule, file } of alerts) {
    const path = `${runbooksFolder}/${fileNameOf(name)}.md`;
    const runbook = runbooks.find((each) => each.path === path);
    if (runbook === undefined) {
      const message = `${name} has no runbook. Add ${path} with the sections ${sections.join(", ")}.`;
      faults.push(file.source.faultAt(rule.name.range[0], message));
    } else if (!runbook.blocks.some(({ info }) => info === firing)) {
      const message = `No query here answers while ${name} fires. Mark the one that does "${firing}"; tests ask it while the alert fires.`;
      faults.push({ path, line: 1, message });
    }
  }
  const wanted = new Set([...alerts.map(({ name }) => fileNameOf(name)), ...withoutAlert]);
  for (const { name, path, headings, emptySections, blocks } of runbooks) {
    if (!wanted.has(name)) {
      const message = `No alert leads to this runbook: none is called ${JSON.stringify(name)} in lower case with hyphens. Rename or remove it.`;
      faults.push({ path, line: 1, message });
    }
    const missing = sections.filter((section) => !headings.includes(section));
    if (missing.length > 0)
      faults.push({ path, line: 1, message: `The runbook lacks "## ${missing.join('", "## ')}". Add it.` });
    else if (headings.filter((heading) => sections.includes(heading)).join() !== sections.join())
      faults.push({
        path,
        line: 1,
        message: `The sections are not in their order, each once, in which all runbooks are read: ${sections.join(", ")}.`,
      });
    for (const section of emptySections)
      faults.push({
        path,
        line: 1,
        message: `Nothing is below "## ${section}". Write it, or "Nothing." and why.`,
      });
    for (const { info, line } of blocks) {
      const fault = markFault(info);
      if (fault !== undefined) faults.push({ path, line, message: fault });
    }
  }
  return faults;
}

/** That the list of runbooks has each alert's, with its severity: it is where somebody looks who has no link. */
export function checkRunbookList({ files, alerts }: ChainContext): readonly Fault[] {
  const list = files.get(listPath)?.text ?? "";
  return alerts.flatMap(({ name, rule }) => {
    const severity = labelOf(rule, "severity") ?? "";
    if (!alertLabels.severity?.includes(severity)) return [];
    const row = `| [${name}](${fileNameOf(name)}.md) | ${severity}`;
    if (list.includes(row)) return [];
    return [
      { path: listPath, line: 1, message: `The list of runbooks lacks ${name}. Add the row "${row} | … |".` },
    ];
  });
}

/** The queries of documents: blocks of PromQL, and what blocks of shell ask promtool for. */
export function queriesOf(documents: readonly Document[]): readonly FoundExpression[] {
  return documents.flatMap(({ path, blocks }) =>
    blocks.flatMap((block) =>
      queriesIn(block).map(({ text, start }) => ({
        text,
        faultAt: (offset: number, message: string) => {
          const before = block.code.slice(0, start + offset).split("\n");
          return {
            path,
            line: block.line + before.length,
            column: block.indent + (before.at(-1)?.length ?? 0) + 1,
            message,
          };
        },
      })),
    ),
  );
}

function queriesIn({ info, code }: Block): readonly { readonly text: string; readonly start: number }[] {
  const language = languageOf(info);
  if (language === "promql") return [{ text: code, start: 0 }];
  if (language !== "sh") return [];
  // The query is the last word of the command. One that is made by the shell, as "$query", says nothing here.
  return [...code.matchAll(promtoolQuery)].flatMap(({ 0: command, index }) => {
    const last = /(?<=\s)(?:'([^']*)'|"([^"$`\\]*)")\s*$/.exec(command);
    if (last === null) return [];
    return [{ text: last[1] ?? last[2] ?? "", start: index + last.index + 1 }];
  });
}

/** Up to the end of the command, over lines that a backslash joins. */
const promtoolQuery =
  /\bpromtool\s+query\s+(?:instant|range)\b(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\[\s\S]|[^'"\\\n;|&<>)])*/g;

function markFault(info: string): string | undefined {
  const language = languageOf(info).toLowerCase();
  const accepted = marks[otherNames[language] ?? language] ?? Object.values(marks).flat();
  if (accepted.includes(info)) return undefined;
  const given = info === "" ? "not marked" : `marked ${JSON.stringify(info)}`;
  return `This block is ${given}, so no test runs it. Mark it "${accepted.join('" or "')}"; what cannot be run is no block.`;
}

function languageOf(info: string): string {
  return info.split(/\s/, 1)[0] ?? "";
}

/** The blocks of a Markdown file, those in lists included, without their indentation. */
function blocksOf(text: string): readonly Block[] {
  const found: Block[] = [];
  const lines = text.split("\n");
  for (let index = 0; index < lines.length; index++) {
    const [, indent = "", fence, info = ""] = /^( *)(`{3,}|~{3,})(.*)$/.exec(lines[index] ?? "") ?? [];
    if (fence === undefined) continue;
    const start = index + 1;
    do index++;
    while (index < lines.length && !lines[index]?.trim().startsWith(fence));
    const code = lines
      .slice(start, index)
      .map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line.trimStart()));
    found.push({ info: info.trim(), code: code.join("\n"), line: start, indent: indent.length });
  }
  return found;
}
