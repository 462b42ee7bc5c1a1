// What any document can get wrong: links to files, npm scripts, code blocks without a language, words of machines.
import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { fencedBlocks } from "./fenced-blocks.ts";

const root = join(import.meta.dirname, "..", "..");
const { stdout } = await promisify(execFile)(
  "git",
  ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
  { cwd: root },
);
const paths = stdout.trim().split("\n");
const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));

/** Headings as GitHub makes anchors of them. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

test("there are documents", () => {
  expect(paths).toContain("README.md");
  expect(paths.length).toBeGreaterThan(10);
});

test.each(paths)("%s: its links lead to files and headings that there are", async (path) => {
  const text = await readFile(join(root, path), "utf8");
  for (const [, target = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [file = "", anchor] = target.split("#");
    const found = file === "" ? join(root, path) : join(root, dirname(path), file);
    expect(await stat(found).catch(() => undefined), `${path} links to ${target}`).toBeDefined();
    if (anchor !== undefined) expect(anchorsOf(await readFile(found, "utf8"))).toContain(anchor);
  }
});

test.each(paths)("%s: its npm scripts exist and its code blocks say their language", async (path) => {
  const text = await readFile(join(root, path), "utf8");
  for (const [, name] of text.matchAll(/npm run (?:--?\w+ )*([a-z][\w:-]*)/g))
    expect(Object.keys(scripts)).toContain(name);
  for (const { info, code } of fencedBlocks(text)) expect(info, code).not.toBe("");
});
