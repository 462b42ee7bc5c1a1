import { EctusError } from "@ectus/core";
import type { DatabaseFacts } from "@ectus/database";
import { expect, test } from "vitest";
import { checkDatabase, judgeDatabase } from "./database.ts";

const well: DatabaseFacts = {
  serverVersion: 180_004,
  schemaFault: undefined,
  rowSecurityFaults: [],
  dataMapFaults: [],
  partitions: [{ table: "usage", missingMonths: [], defaultHasRows: false }],
};
const faults = (facts: Partial<DatabaseFacts>) =>
  judgeDatabase({ ...well, ...facts })
    .filter(({ status }) => status !== "ok")
    .map(({ status, name, fix }) => [status, name, fix === null || fix === "" ? "no fix" : "fix"]);

test("a database as it should be has nothing to fix", () => {
  expect(judgeDatabase(well).every(({ status, fix }) => status === "ok" && fix === null)).toBe(true);
});

test.each([
  [{ serverVersion: 140_011 }, ["fail", "database version", "fix"]],
  [{ serverVersion: 190_000 }, ["warn", "database version", "fix"]],
  [{ schemaFault: "migrations are missing" }, ["fail", "schema", "fix"]],
  [{ rowSecurityFaults: ["the role can bypass"] }, ["fail", "row security", "fix"]],
  [{ dataMapFaults: ["The table x is not in the data map."] }, ["fail", "data map", "fix"]],
  [
    { partitions: [{ table: "usage", missingMonths: ["2027-01"], defaultHasRows: false }] },
    ["fail", "partitions of usage", "fix"],
  ],
  [
    { partitions: [{ table: "usage", missingMonths: [], defaultHasRows: true }] },
    ["fail", "default partition of usage", "fix"],
  ],
  [
    { partitions: [{ table: "usage", missingMonths: [], defaultHasRows: undefined }] },
    ["warn", "default partition of usage", "fix"],
  ],
] as [Partial<DatabaseFacts>, string[]][])("%j is told", (facts, expected) => {
  expect(faults(facts)).toEqual([expected]);
});

test.each([
  [new EctusError("data_dir_in_use", { dir: "/x" }), "Wait until"],
  [new EctusError("not_found", { what: "database" }), "Do what"],
  [new Error("broken"), "LOG_LEVEL=debug"],
])("a database that cannot be opened fails: %s", async (error, fix) => {
  const [check] = await checkDatabase(() => Promise.reject(error));
  expect(check).toMatchObject({ status: "fail", detail: error.message, fix: expect.stringContaining(fix) });
});

test.each(["external", "running"] as const)("one that does not answer fails (%s)", async (server) => {
  const url = "postgres://app:hunter2@127.0.0.1:1/ectus";
  const [check] = await checkDatabase(async () => ({ url, ownerUrl: url, server, close: async () => {} }));
  expect(check).toMatchObject({
    status: "fail",
    detail: expect.stringContaining("does not answer at 127.0.0.1:1/ectus (connect ECONNREFUSED"),
  });
  expect(JSON.stringify(check)).not.toContain("hunter2");
});
