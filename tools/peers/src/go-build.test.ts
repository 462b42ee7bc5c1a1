import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { goBuild } from "./go-build.ts";

let folder: string;
let out: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-go-"));
  out = join(folder, "out");
  await mkdir(out);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await chmod(join(folder, "module", "cmd"), 0o755).catch(() => undefined);
  await chmod(join(folder, "module"), 0o755).catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
});

const request = {
  module: "example.org/tool",
  version: "v1.2.3",
  packages: ["cmd/a"],
  variables: { "example.org/tool/version.Version": "1.2.3" },
};

// As Go does it: the module lies in a cache that may not be written to, and its folder is told as JSON.
async function fakeGo(build: string): Promise<void> {
  const source = join(folder, "module");
  await mkdir(join(source, "cmd"), { recursive: true });
  await writeFile(join(source, "cmd", "a.go"), "package main\n", { mode: 0o444 });
  await chmod(join(source, "cmd"), 0o555);
  await chmod(source, 0o555);
  const bin = join(folder, "bin");
  await mkdir(bin);
  const script = `echo "$CGO_ENABLED $GOWORK $*" >> ${join(folder, "calls")}
case "$1" in
  mod) echo "go: downloading example.org/tool v1.2.3" >&2; echo '{ "Dir": "${source}" }' ;;
  build) ${build} ;;
esac`;
  await writeFile(join(bin, "go"), `#!/bin/sh\n${script}\n`);
  await chmod(join(bin, "go"), 0o755);
  vi.stubEnv("PATH", [bin, process.env.PATH].join(delimiter));
}

test("a program is built in a copy of its module that can be written to, and only the program stays", async () => {
  await fakeGo(
    '[ "$(stat -c %a . cmd cmd/a.go | tr "\\n" " ")" = "755 755 644 " ] && echo changed >> cmd/a.go && cp cmd/a.go "$4/a"',
  );
  const lines: string[] = [];
  await goBuild(out, request, { progress: (line) => lines.push(line) });
  const calls = (await readFile(join(folder, "calls"), "utf8")).trimEnd().split("\n");
  expect(calls.slice(1)).toEqual([
    " off mod download -json example.org/tool@v1.2.3",
    `0 off build -ldflags=-s -w -X example.org/tool/version.Version=1.2.3 -o ${out} ./cmd/a`,
  ]);
  expect(lines).toEqual([
    "go mod download example.org/tool@v1.2.3",
    "go build ./cmd/a of example.org/tool@v1.2.3",
  ]);
  expect(await readdir(out)).toEqual(["a"]);
  expect(await readFile(join(out, "a"), "utf8")).toBe("package main\nchanged\n");
  expect(await readFile(join(folder, "module", "cmd", "a.go"), "utf8")).toBe("package main\n");
});

test("a module is changed before it is built, and Go may then add to its go.mod and go.sum", async () => {
  await fakeGo('cp go.mod "$5/a"');
  const adapt = (source: string) => writeFile(join(source, "go.mod"), "module example.org/tool\n");
  await goBuild(out, { ...request, packages: ["."], adapt }, { progress: () => {} });
  const calls = (await readFile(join(folder, "calls"), "utf8")).trimEnd().split("\n");
  expect(calls.at(-1)).toMatch(/ off build -mod=mod -ldflags=.* \.$/);
  expect(await readFile(join(out, "a"), "utf8")).toBe("module example.org/tool\n");
});

test("without Go it says what to install", async () => {
  vi.stubEnv("PATH", folder);
  await expect(goBuild(out, request, { progress: () => {} })).rejects.toMatchObject({
    code: "peer_missing",
    message: expect.stringContaining("needs Go 1.26 or later on PATH"),
  });
});

test("a build that fails says what the compiler said", async () => {
  await fakeGo("echo 'undefined: x'; exit 1");
  await expect(goBuild(out, request, { progress: () => {} })).rejects.toThrow(/undefined: x/);
});
