// Runs the example of the package's README and, on a bag that was written here, its commands for those who do not have
// this program.
import { execFile } from "node:child_process";
import { appendFile, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fencedBlocks } from "../../../tests/docs/fenced-blocks.ts";
import { checkBagSignature, createSigningKey, faultCodes, parseManifest, signBag } from "./index.ts";
import { exampleFile } from "./testing/example-document.ts";
import { exampleKey, exampleSeed, writeExampleBag } from "./testing/write-example-bag.ts";

const exported: Record<string, unknown> = { checkBagSignature, createSigningKey, parseManifest, signBag };
const run = promisify(execFile);
const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
const blocks = fencedBlocks(readme);

test("the example of the README runs and prints what it says", async () => {
  const [example] = blocks.filter(({ info }) => info === "ts run");
  const names = /^import \{ (.*) \} from "@ectus\/bag";$/m.exec(example?.code ?? "")?.[1]?.split(", ") ?? [];
  const lines: string[] = [];
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
  const code = (example?.code ?? "").replace(/^import .*$/m, "");
  await new AsyncFunction("seed", "print", ...names, code)(
    exampleSeed,
    (line: string) => lines.push(line),
    ...names.map((name) => exported[name]),
  );
  const [printed] = blocks.filter(({ info }) => info === "text");
  expect(`${lines.join("\n")}\n`).toBe(printed?.code);
});

test("the faults are those that a report can have", () => {
  const rows = [...readme.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].map(([, code, says]) => [code, says]);
  expect(Object.fromEntries(rows)).toEqual(faultCodes);
});

test("the command for a key makes one", async () => {
  const [, command = ""] = blocks.filter(({ info }) => info === "sh").map(({ code }) => code);
  const { stdout } = await run("sh", ["-c", command]);
  expect(createSigningKey(stdout.trim()).publicKey.x).toMatch(/^[\w-]{43}$/);
});

describe("the commands for a bag", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-bag-"));
    await writeExampleBag(folder);
  });
  afterEach(() => rm(folder, { recursive: true }));
  const commands = blocks.filter(({ info }) => info === "sh run").map(({ code }) => code);
  const sh = async (script: string) => {
    // A folder of its own in place of a fixed name, since several may run at once.
    const { stdout } = await run("sh", ["-c", script.replaceAll("/tmp/there", `${folder}.there`)], {
      cwd: folder,
    });
    await rm(`${folder}.there`, { force: true });
    return stdout;
  };
  const [digests = "", additions = "", signature = ""] = commands;
  const verified = "Signature Verified Successfully\n";

  test("are three, and find a whole bag to be one", async () => {
    expect(commands).toHaveLength(3);
    const checked = (await sh(digests)).trim().split("\n");
    expect(checked).toHaveLength(4 + 3);
    for (const line of checked) expect(line).toMatch(/: OK$/);
    expect(await sh(additions)).toBe("");
    expect(await sh(signature)).toBe(verified);
  });

  test("find every change", async () => {
    await appendFile(join(folder, exampleFile(1).path), "x");
    await expect(sh(digests)).rejects.toMatchObject({ stdout: expect.stringContaining(": FAILED") });
    await writeFile(join(folder, "data/added"), "x");
    expect(await sh(additions)).toBe("data/added\n");
    await symlink("/etc/passwd", join(folder, "data/link"));
    expect(await sh(additions)).toBe("data/added\ndata/link\n");
    for (const name of ["export.json", "tagmanifest-sha256.txt"]) {
      const before = await readFile(join(folder, name));
      await appendFile(join(folder, name), " ");
      // The last command of the block removes its files, so its exit code is not that of the check.
      expect(await sh(signature), name).not.toContain(verified.trim());
      await writeFile(join(folder, name), before);
    }
    expect(await sh(signature)).toBe(verified);
    const text = await readFile(join(folder, "export.json.sig"), "utf8");
    const otherKey = createSigningKey(Buffer.alloc(32, 9).toString("base64url"));
    await writeFile(
      join(folder, "export.json.sig"),
      text.replace(exampleKey.publicKey.x, otherKey.publicKey.x),
    );
    expect(await sh(signature)).not.toContain(verified.trim());
  });

  test("find the key in what /v1/signing-keys answers", async () => {
    await writeFile(join(folder, "keys.json"), JSON.stringify({ keys: [exampleKey.publicKey] }));
    const [curl = ""] = blocks.filter(({ info }) => info === "sh").map(({ code }) => code);
    const field = /^field\(\).*$/m.exec(signature)?.[0];
    const lookUp = curl.replace(/curl -s \S+/, "cat keys.json");
    expect(await sh(`${field}\n${lookUp}`)).toContain(exampleKey.publicKey.kid);
    // A forger's key that stands beside the platform's, or no key at all, is not found.
    const text = await readFile(join(folder, "export.json.sig"), "utf8");
    const { x } = exampleKey.publicKey;
    const forged = createSigningKey(Buffer.alloc(32, 9).toString("base64url")).publicKey.x;
    for (const other of [`${forged}",\n  "x": "${x}`, `",\n  "x": "${x}`, "", x.slice(1)]) {
      await writeFile(join(folder, "export.json.sig"), text.replace(`"x": "${x}"`, `"x": "${other}"`));
      expect(await sh(`${field}\n${lookUp.trim()} || true`), other).toBe("");
    }
  });
});
