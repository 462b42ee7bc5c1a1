// What can be run in a document for people on call: its fenced blocks that are marked so, with the place of each.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export type BlockLanguage = "promql" | "sql" | "sh";

export interface RunnableBlock {
  /** Path below docs, as runbooks/high-latency.md. */
  readonly file: string;
  /** Of the fence, from 1. */
  readonly line: number;
  readonly language: BlockLanguage;
  /** Words of the info string after `run`, as `firing`. */
  readonly marks: readonly string[];
  /** The heading (##) that it stands under. */
  readonly section: string;
  readonly code: string;
}

const docs = join(import.meta.dirname, "..", "..", "docs");

/** Runnable blocks of every Markdown file of these folders below docs, in the order of files and lines. */
export async function readRunnableBlocks(folders: readonly string[]): Promise<RunnableBlock[]> {
  const blocks: RunnableBlock[] = [];
  for (const folder of folders) {
    const names = (await readdir(join(docs, folder))).filter((name) => name.endsWith(".md")).toSorted();
    for (const name of names) {
      const markdown = await readFile(join(docs, folder, name), "utf8");
      blocks.push(...runnableBlocks(`${folder}/${name}`, markdown));
    }
  }
  return blocks;
}

export function runnableBlocks(file: string, markdown: string): RunnableBlock[] {
  const blocks: RunnableBlock[] = [];
  let section = "";
  let open: { indent: string; info: string; line: number; code: string[] } | undefined;
  for (const [index, text] of markdown.split("\n").entries()) {
    if (open === undefined) {
      section = /^## +(.*?) *$/.exec(text)?.[1] ?? section;
      const [, indent = "", info] = /^( *)```(\S.*)?$/.exec(text) ?? [];
      if (info !== undefined) open = { indent, info, line: index + 1, code: [] };
    } else if (text.trim() === "```") {
      const [language = "", mark, ...marks] = open.info.split(/ +/);
      if (mark === "run" && isLanguage(language)) {
        const { line, code } = open;
        blocks.push({ file, line, language, marks, section, code: `${code.join("\n")}\n` });
      }
      open = undefined;
    } else {
      open.code.push(text.startsWith(open.indent) ? text.slice(open.indent.length) : text);
    }
  }
  if (open !== undefined) throw new Error(`${file}:${open.line}: the block has no end`);
  return blocks;
}

function isLanguage(text: string): text is BlockLanguage {
  return text === "promql" || text === "sql" || text === "sh";
}
