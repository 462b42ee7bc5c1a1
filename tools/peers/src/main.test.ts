import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

let cache: string;
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "ectus-peers-main-"));
});
afterEach(() => rm(cache, { recursive: true, force: true }));

interface Ended {
  readonly status: number | string | null | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

// PATH is the empty cache, so that nothing is found and nothing can be fetched.
function peers(...args: string[]): Promise<Ended> {
  const env = { ...process.env, ECTUS_PEERS_CACHE: cache, PATH: cache };
  const main = join(import.meta.dirname, "main.ts");
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { env, timeout: 20_000 }, (error, stdout, stderr) =>
      resolve({ status: error === null ? 0 : error.code, stdout, stderr }),
    );
  });
}

test("an unknown name is used wrongly, and the known names are shown", async () => {
  const { status, stderr } = await peers("nonesuch");
  expect(status).toBe(2);
  expect(stderr).toContain("no peer is called nonesuch. Peers are: postgresql-clients, postgresql-15, model");
});

test("an unknown option is used wrongly", async () => {
  expect(await peers("--nope")).toMatchObject({ status: 2, stderr: expect.stringContaining("--nope") });
});

test("a list says what is missing, gets nothing and succeeds", async () => {
  const { status, stdout, stderr } = await peers("--list", "model", "portkey");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^model +missing +get it with: npm run peers model\nportkey +missing /);
});

test("a peer that cannot be got is reported as JSON, with status 1", async () => {
  const { status, stdout, stderr } = await peers("model", "--json");
  expect(status).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ peers: [{ name: "model", state: "failed" }] });
  expect(stderr).toContain("Python 3 with pip is needed");
});

test("help lists every peer", async () => {
  const { status, stdout } = await peers("--help");
  expect(status).toBe(0);
  expect(stdout).toMatch(/postgresql-clients[\s\S]*postgresql-15[\s\S]*model[\s\S]*portkey/);
});
