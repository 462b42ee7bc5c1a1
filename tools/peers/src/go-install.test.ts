import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { goInstall } from "./go-install.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-go-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

const request = {
  module: "example.org/tool",
  version: "v1.2.3",
  packages: ["cmd/a", "cmd/b"],
  variables: { "example.org/tool/version.Version": "1.2.3" },
};

async function fakeGo(script: string): Promise<void> {
  const bin = join(folder, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "go"), `#!/bin/sh\n${script}\n`);
  await chmod(join(bin, "go"), 0o755);
  vi.stubEnv("PATH", bin);
}

test("each package is built into the folder, with the version linked in and without cgo", async () => {
  const out = join(folder, "out");
  await mkdir(out);
  await fakeGo(
    `echo "$CGO_ENABLED $*" >> ${join(folder, "calls")}; [ "$1" = version ] || : > "$GOBIN/\${3##*/}"`,
  );
  const lines: string[] = [];
  await goInstall(out, request, { progress: (line) => lines.push(line) });
  const calls = (await readFile(join(folder, "calls"), "utf8")).trimEnd().split("\n");
  const flags = "-ldflags=-s -w -X example.org/tool/version.Version=1.2.3";
  expect(calls.slice(1)).toEqual([
    `0 install ${flags} example.org/tool/cmd/a@v1.2.3`,
    `0 install ${flags} example.org/tool/cmd/b@v1.2.3`,
  ]);
  expect(lines).toHaveLength(2);
});

test("a program that is the module itself is built", async () => {
  await fakeGo(`echo "$*" >> ${join(folder, "calls")}`);
  await goInstall(folder, { ...request, packages: ["."] }, { progress: () => {} });
  expect(await readFile(join(folder, "calls"), "utf8")).toMatch(/ example\.org\/tool@v1\.2\.3\n$/);
});

test("without Go it says what to install", async () => {
  vi.stubEnv("PATH", folder);
  await expect(goInstall(folder, request, { progress: () => {} })).rejects.toMatchObject({
    code: "peer_missing",
    message: expect.stringContaining("needs Go 1.26 or later on PATH"),
  });
});

test("a build that fails says what the compiler said", async () => {
  await fakeGo(`[ "$1" = version ] && exit 0; echo "undefined: x"; exit 1`);
  await expect(goInstall(folder, request, { progress: () => {} })).rejects.toThrow(/undefined: x/);
});
