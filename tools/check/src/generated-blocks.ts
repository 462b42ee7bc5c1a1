// Blocks of Markdown files that are made from code, between <!-- generated:NAME --> and <!-- /generated -->.

/** What a block holds, by its name. */
export type Generators = Readonly<Record<string, () => Promise<string>>>;

export interface Rewritten {
  /** The text with every block made anew. */
  readonly text: string;
  /** Names of blocks whose content was another before. */
  readonly stale: readonly string[];
  /** Marks that make no block, for people. */
  readonly faults: readonly string[];
}

const markPattern = /<!-- (generated:([\w-]*)|\/generated) -->/g;

/** Makes every block of a text anew. Marks that are wrong are reported, and what is around them stays as it is. */
export async function rewriteBlocks(text: string, generators: Generators): Promise<Rewritten> {
  const stale: string[] = [];
  const faults: string[] = [];
  let rewritten = "";
  let done = 0;
  let open: { readonly name: string; readonly end: number } | undefined;
  for (const mark of text.matchAll(markPattern)) {
    const line = text.slice(0, mark.index).split("\n").length;
    const name = mark[2];
    if (name !== undefined) {
      if (open !== undefined) faults.push(`line ${line}: block ${open.name} is not closed before this one`);
      open = { name, end: mark.index + mark[0].length };
      continue;
    }
    if (open === undefined) {
      faults.push(`line ${line}: <!-- /generated --> closes nothing`);
      continue;
    }
    const generate = Object.hasOwn(generators, open.name) ? generators[open.name] : undefined;
    if (generate === undefined) {
      faults.push(
        `line ${line}: no block is called ${open.name}; known: ${Object.keys(generators).join(", ")}`,
      );
    } else {
      const content = `\n\n${(await generate()).trim()}\n\n`;
      if (content !== text.slice(open.end, mark.index)) stale.push(open.name);
      rewritten += text.slice(done, open.end) + content;
      done = mark.index;
    }
    open = undefined;
  }
  if (open !== undefined) faults.push(`block ${open.name} is not closed`);
  return { text: rewritten + text.slice(done), stale, faults };
}
