import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { inspectFile } from "./model.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-model-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const expected = { bytes: 5, sha256: createHash("sha256").update("model").digest("hex") };

test.each([
  ["model", { ok: true, version: `sha256:${expected.sha256.slice(0, 12)}` }],
  ["modem", { ok: false, reason: expect.stringContaining("digest") }],
  ["mode", { ok: false, reason: expect.stringContaining("4 bytes, not 5") }],
])("a file that holds %j is judged by length and digest", async (content, verdict) => {
  const path = join(folder, "file");
  await writeFile(path, content);
  expect(await inspectFile(path, expected)).toEqual(verdict);
});

test("a file that is missing is refused, not thrown", async () => {
  expect(await inspectFile(join(folder, "none"), expected)).toMatchObject({ ok: false });
});
