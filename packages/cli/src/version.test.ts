import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { readRevision } from "./version.ts";

const run = promisify(execFile);

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-version-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

const author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"];
async function git(folder: string, ...args: string[]): Promise<string> {
  return (await run("git", [...author, ...args], { cwd: folder })).stdout.trim();
}

async function newCheckout(): Promise<{ folder: string; commit: string }> {
  const folder = join(await newFolder(), "checkout");
  await mkdir(folder);
  await git(folder, "init", "--initial-branch=topic/one");
  await git(folder, "commit", "--allow-empty", "--message=one");
  return { folder, commit: await git(folder, "rev-parse", "HEAD") };
}

test("the revision of a checkout is that of its branch, packed or not, or its detached HEAD", async () => {
  const { folder, commit } = await newCheckout();
  expect(await readRevision({}, folder)).toBe(commit);
  // Other names that end alike must not be mixed up with it.
  await git(
    folder,
    "branch",
    "a/topic/one",
    (await git(folder, "commit-tree", "-m", "x", "HEAD^{tree}")).trim(),
  );
  await git(folder, "pack-refs", "--all");
  expect(await readRevision({}, folder)).toBe(commit);
  await git(folder, "checkout", "--detach");
  expect(await readRevision({}, folder)).toBe(commit);
});

test("the revision of a linked work tree is its own", async () => {
  const { folder } = await newCheckout();
  const linked = join(folder, "..", "linked");
  await git(folder, "worktree", "add", "-b", "two", linked);
  await git(linked, "commit", "--allow-empty", "--message=two");
  expect(await readRevision({}, linked)).toBe(await git(linked, "rev-parse", "HEAD"));
});

test("what a build says goes before the checkout: the variable, then the file", async () => {
  const { folder } = await newCheckout();
  await writeFile(join(folder, "REVISION"), "v1.2.3-4-gabcdef\n");
  expect(await readRevision({}, folder)).toBe("v1.2.3-4-gabcdef");
  expect(await readRevision({ ECTUS_REVISION: "abc123" }, folder)).toBe("abc123");
});

test("without any it is unknown, and what is no revision is not taken", async () => {
  const folder = await newFolder();
  expect(await readRevision({}, folder)).toBe("unknown");
  expect(await readRevision({ ECTUS_REVISION: "two words" }, folder)).toBe("unknown");
  await mkdir(join(folder, ".git"));
  await writeFile(join(folder, ".git", "HEAD"), "nonsense");
  expect(await readRevision({}, folder)).toBe("unknown");
});
