// The files that the chain is made of: read once, and each parsed once.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseYaml } from "../yaml-positions.ts";

export const rulesFolder = "k8s/prometheus";
export const ruleTestsFolder = "k8s/prometheus/tests";
export const alertmanagerFolder = "k8s/prometheus/alertmanager";
export const runbooksFolder = "docs/runbooks";

/** Guides have queries as well, but are written as they like. */
export const guidesFolder = "docs/operations";

export const catalogueFolder = "packages/monitoring/src/catalogue";

const folders: readonly (readonly [path: string, extension: RegExp])[] = [
  [rulesFolder, /\.(yaml|tmpl)$/],
  [runbooksFolder, /\.md$/],
  [guidesFolder, /\.md$/],
  [catalogueFolder, /\.ts$/],
];

export interface ChainFile {
  /** Relative to the project's root, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly yaml: () => ReturnType<typeof parseYaml>;
}

/** By their paths, in the order of those. */
export type ChainFiles = ReadonlyMap<string, ChainFile>;

export function chainFile(path: string, text: string): ChainFile {
  let parsed: ReturnType<typeof parseYaml> | undefined;
  return {
    path,
    text,
    yaml: () => {
      parsed ??= parseYaml(path, text);
      return parsed;
    },
  };
}

export async function readChainFiles(root: string): Promise<ChainFiles> {
  const paths = await Promise.all(
    folders.map(async ([folder, extension]) =>
      (await namesIn(join(root, folder)))
        .filter((name) => extension.test(name))
        .map((name) => `${folder}/${name.replaceAll("\\", "/")}`),
    ),
  );
  const files = await Promise.all(
    paths.flat().map(async (path) => chainFile(path, await readFile(join(root, path), "utf8"))),
  );
  return new Map(files.sort((a, b) => (a.path < b.path ? -1 : 1)).map((file) => [file.path, file]));
}

/** The files right in a folder. */
export function filesIn(files: ChainFiles, folder: string): readonly ChainFile[] {
  return [...files.values()].filter(
    ({ path }) => path.startsWith(`${folder}/`) && !path.includes("/", folder.length + 1),
  );
}

/** What is in a folder and those below it; nothing where there is none. */
async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder, { recursive: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
