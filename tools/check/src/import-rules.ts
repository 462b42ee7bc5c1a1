// Who may import whom: packages depend on each other in one direction only, and reach each other by name, through
// what `exports` in package.json offers. dependency-cruiser would do this, but cannot read TypeScript with
// TypeScript 7 installed (it needs the compiler's older API), so imports are read with the parser that knip uses.
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, posix } from "node:path";
import { parseSync } from "oxc-parser";
import { listFiles } from "./source-files.ts";

/** From the ground up. A package may import those in lines before its own. */
const layers: readonly (readonly string[])[] = [
  ["core"],
  ["metrics", "bag", "on-call"],
  ["monitoring"],
  ["database", "storage", "alerting"],
  ["ai-engine", "compliance"],
  ["web-api", "drills"],
  ["cli"],
];

/**
 * Packages that only some may import. Instruments are made from the catalogue in @ectus/monitoring alone, so that no
 * metric has a name or a label that is not in it.
 */
const reserved: Readonly<Record<string, readonly string[]>> = { metrics: ["monitoring"] };

/** Packages outside the layers: the console talks HTTP; the server only serves what its build makes. */
const standalone = ["console"];

interface Workspace {
  readonly folder: string;
  /** Names that others may import, such as "@ectus/core" and "@ectus/core/testing". */
  readonly specifiers: ReadonlySet<string>;
}

/** The imports that break a rule, with file, line and rule. */
export async function checkImports(root: string): Promise<readonly string[]> {
  const workspaces = await readWorkspaces(root);
  const faults: string[] = [];
  for (const name of workspaces.keys()) {
    const folder = workspaces.get(name)?.folder ?? "";
    if (folder.startsWith("packages/") && layerOf(folder) === undefined && !isStandalone(folder)) {
      faults.push(`${folder}: has no place in the layers of tools/check/src/import-rules.ts; give it one`);
    }
  }
  for (const file of await listFiles(root, [".ts", ".tsx"])) {
    const text = await readFile(join(root, file), "utf8");
    for (const { specifier, offset } of importsOf(file, text)) {
      const fault = faultOf(file, specifier, workspaces);
      if (fault !== undefined) {
        faults.push(`${file}:${text.slice(0, offset).split("\n").length}: imports ${specifier}; ${fault}`);
      }
    }
  }
  return faults;
}

function faultOf(
  file: string,
  specifier: string,
  workspaces: ReadonlyMap<string, Workspace>,
): string | undefined {
  const from = homeOf(file);
  if (specifier.startsWith(".") || specifier.startsWith("/")) {
    const target = posix.join(dirname(file), specifier);
    const to = homeOf(target);
    if (from === to) return undefined;
    if (to === "tests" && (isTest(file) || from === "bench")) return undefined;
    return `${from} may not reach into files of ${to}, import it by its name`;
  }
  const name = /^@ectus\/[^/]+/.exec(specifier)?.[0];
  if (name === undefined) return undefined;
  const target = workspaces.get(name);
  if (target === undefined) return `no workspace is called ${name}`;
  if (target.folder === from) return "a package imports its own files by path";
  if (!target.specifiers.has(specifier))
    return `"exports" in ${target.folder}/package.json does not offer it`;
  return directionFault(file, from, target.folder);
}

function directionFault(file: string, from: string, to: string): string | undefined {
  if (!from.startsWith("packages/")) return undefined;
  if (to.startsWith("tools/")) return isTest(file) ? undefined : "only tests of a package may import tools";
  const fromLayer = layerOf(from);
  const toLayer = layerOf(to);
  if (isStandalone(from)) return `${from} imports no other package`;
  if (isStandalone(to) || fromLayer === undefined || toLayer === undefined) return undefined;
  const allowed = reserved[nameOf(to)];
  if (allowed !== undefined && !allowed.includes(nameOf(from)) && !isTest(file))
    return `only ${allowed.join(", ")} may import ${to}; add the metric to the catalogue in packages/monitoring and make its instrument with Instruments`;
  if (toLayer < fromLayer) return undefined;
  const below = layers.slice(0, fromLayer).flat();
  return `${from} may import ${below.length === 0 ? "no other package" : `only ${below.join(", ")}`}`;
}

/** "packages/core", "tools/peers", "tests", "bench" or "." for what lies at the root. */
function homeOf(path: string): string {
  const [first = "", second = "", third] = path.split("/");
  if (first === "packages" || first === "tools") return third === undefined ? first : `${first}/${second}`;
  return second === "" ? "." : first;
}

function layerOf(folder: string): number | undefined {
  const index = layers.findIndex((layer) => layer.includes(nameOf(folder)));
  return index === -1 ? undefined : index;
}

function isStandalone(folder: string): boolean {
  return standalone.includes(nameOf(folder));
}

/** "core" of "packages/core". */
function nameOf(folder: string): string {
  return folder.slice("packages/".length);
}

function isTest(file: string): boolean {
  return /\.test\.tsx?$/.test(file);
}

interface Import {
  readonly specifier: string;
  readonly offset: number;
}

function importsOf(file: string, text: string): readonly Import[] {
  const { staticImports, staticExports } = parseSync(file, text).module;
  const requests = [
    ...staticImports.map((statement) => statement.moduleRequest),
    ...staticExports.flatMap((statement) => statement.entries.map((entry) => entry.moduleRequest)),
  ];
  const found = requests.flatMap((request) =>
    request === null ? [] : [{ specifier: request.value, offset: request.start }],
  );
  // Both import("x") at run time and the type import("x").T; the parser's module record has only the first.
  for (const match of text.matchAll(/\bimport\(\s*["']([^"'\n]+)["']/g)) {
    found.push({ specifier: match[1] ?? "", offset: match.index });
  }
  return found;
}

async function readWorkspaces(root: string): Promise<ReadonlyMap<string, Workspace>> {
  const workspaces = new Map<string, Workspace>();
  for (const parent of ["packages", "tools"]) {
    for (const child of await readdir(join(root, parent)).catch(() => [])) {
      const folder = `${parent}/${child}`;
      const text = await readFile(join(root, folder, "package.json"), "utf8").catch(() => undefined);
      if (text === undefined) continue;
      const { name, exports = {} } = JSON.parse(text) as { name: string; exports?: Record<string, unknown> };
      const specifiers = Object.keys(exports).map((path) => posix.join(name, path));
      workspaces.set(name, { folder, specifiers: new Set(specifiers) });
    }
  }
  return workspaces;
}
