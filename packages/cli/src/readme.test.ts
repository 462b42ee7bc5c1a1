// Runs the commands of the package's README and compares what they print with what it shows.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { runRecorded } from "./recorded-context.ts";

let database: TestDatabase;
let dataDir: string;
beforeAll(async () => {
  database = await createTestDatabase();
  dataDir = await mkdtemp(join(tmpdir(), "ectus-readme-"));
});
afterAll(async () => {
  await database.drop();
  await rm(dataDir, { recursive: true });
});

/** With what differs each time replaced by what the README has there. */
function normalized(text: string): string {
  return text
    .replace(/\b[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}\b/g, "01990000-0000-7000-8000-000000000000")
    .replace(/sk-[\w-]{43}/g, `sk-${"0".repeat(43)}`)
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "2026-11-24T12:00:00.000Z")
    .replace(/ \d{4}-\d\d-\d\d /g, " 2026-11-24 ");
}

/** Words of a command line; single quotes keep spaces. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");

test("the commands of the README print what it shows", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const block = /```console run\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  let printed = "";
  for (const line of block.split("\n").filter((text) => text.startsWith("$ ectus "))) {
    const environment = {
      DATABASE_URL: database.appUrl,
      DATA_DIR: dataDir,
      API_KEY_SECRET: "a secret of at least 32 characters",
    };
    const { code, out } = await runRecorded(environment, ...wordsOf(line).slice(2));
    expect(code).toBe(0);
    printed += `${line}\n${out}`;
  }
  expect(normalized(printed)).toBe(block);
});

test("every command of the program is in the README", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const { out } = await runRecorded({}, "--help");
  const names = [...out.matchAll(/^ {2}([a-z]+)( \[options\])? {2,}/gm)].map(([, name]) => name);
  expect(names).toContain("doctor");
  for (const name of names.filter((one) => one !== "help"))
    expect(readme).toMatch(new RegExp(`^\\| \`${name}\\b`, "m"));
});
