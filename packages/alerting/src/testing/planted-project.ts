// The project's real files of the chain, in memory, that tests plant mistakes in. What a test does not touch is not
// parsed again.
import { checkChainFiles } from "../chain/chain.ts";
import { type ChainFiles, chainFile } from "../chain/chain-files.ts";
import { formatFault } from "../yaml-positions.ts";

export interface PlantedProject {
  readonly files: ChainFiles;
  /** Replaces text that has to be there. */
  readonly edit: (path: string, old: string | RegExp, now: string) => void;
  readonly write: (path: string, text: string) => void;
  readonly remove: (path: string) => void;
}

export function plantIn(original: ChainFiles): PlantedProject {
  const files = new Map(original);
  const write = (path: string, text: string) => {
    files.set(path, chainFile(path, text));
  };
  const edit = (path: string, old: string | RegExp, now: string) => {
    const text = files.get(path)?.text ?? "";
    const edited = text.replace(old, now);
    if (edited === text) throw new Error(`${path} has no ${old}, so the test plants nothing`);
    write(path, edited);
  };
  const remove = (path: string) => {
    if (!files.delete(path)) throw new Error(`There is no ${path}, so the test plants nothing`);
  };
  return { files, edit, write, remove };
}

export interface Mistake {
  readonly what: string;
  readonly plant: (project: PlantedProject) => void;
  /** Parts of the one message that it has to give. */
  readonly says: readonly string[];
}

/** What the check says of mistakes besides what it says of the project as it is. */
export function mistakesIn(original: ChainFiles): (mistake: Mistake) => readonly string[] {
  const before = new Set(checkChainFiles(original).map(({ message }) => message));
  return ({ plant }) => {
    const project = plantIn(original);
    plant(project);
    return checkChainFiles(project.files)
      .filter(({ message }) => !before.has(message))
      .map(formatFault);
  };
}
