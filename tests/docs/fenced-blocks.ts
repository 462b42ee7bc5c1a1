// Code blocks of a Markdown file.

export interface FencedBlock {
  /** What stands after the fence: `sh run`. */
  readonly info: string;
  readonly code: string;
}

/** The blocks in their order; those inside of lists count too. */
export function fencedBlocks(markdown: string): FencedBlock[] {
  return [...markdown.matchAll(/^ *```(.*)\n([\s\S]*?)^ *```$/gm)].map(([, info = "", code = ""]) => ({
    info,
    code,
  }));
}
