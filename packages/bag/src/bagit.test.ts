// Bags as the Library of Congress' own validator sees them.
import { execFile } from "node:child_process";
import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { peer } from "@ectus/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { exampleFile } from "./testing/example-document.ts";
import { writeExampleBag } from "./testing/write-example-bag.ts";

const run = promisify(execFile);
const bagit = await peer("bagit");

describe.skipIf(!bagit)("the BagIt validator", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-bagit-"));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const python = (...args: string[]) =>
    run("python3", args, { env: { ...process.env, PYTHONPATH: bagit?.folder ?? "" }, timeout: 60_000 });
  const validate = () => python("-m", "bagit", "--validate", folder);

  test.each([
    ["plain", "Acme Corp."],
    ["with what could be lines of its own", "Evil\r\nPayload-Oxum: 0.0\n\nBagIt-Version: 0.93\u2028x\u0085"],
    ["longer than a line", "Société Générale d'Exploitation ".repeat(30)],
    ["of nothing", "\n"],
  ])("accepts the bag of a tenant whose name is %s", async (_, name) => {
    await writeExampleBag(folder, name);
    expect((await validate()).stderr).toContain("is valid");
    const script = "import bagit, json, sys; print(json.dumps(bagit.Bag(sys.argv[1]).info))";
    const info = JSON.parse((await python("-c", script, folder)).stdout);
    expect(info["Payload-Oxum"]).toMatch(/^\d+\.3$/);
    expect(info["Source-Organization"]?.replace(/\s+/g, " ") ?? "").toBe(
      name.replace(/\s+|\u0085/g, " ").trim(),
    );
  });

  test("refuses a bag in which a file was changed, added or removed", async () => {
    const { path } = exampleFile(2);
    for (const change of [
      () => appendFile(join(folder, path), "x"),
      () => writeFile(join(folder, "data/added"), ""),
      () => rm(join(folder, path)),
      () => appendFile(join(folder, "export.json"), "\n"),
    ]) {
      await writeExampleBag(folder);
      await change();
      await expect(validate()).rejects.toMatchObject({ stderr: expect.stringContaining("is invalid") });
      await rm(folder, { recursive: true });
    }
    await writeExampleBag(folder);
  });
});
