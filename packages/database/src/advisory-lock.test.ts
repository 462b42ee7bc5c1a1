import { createLogging } from "@ectus/core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { underAdvisoryLock } from "./advisory-lock.ts";
import { type Database, openDatabase } from "./database.ts";

const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("test");
let postgres: TestDatabase;
let instances: Database[];
beforeAll(async () => {
  postgres = await createTestDatabase();
  instances = [0, 1, 2].map(() => openDatabase({ url: postgres.appUrl, poolSize: 2, log }));
});
afterAll(async () => {
  for (const instance of instances) await instance.close();
  await postgres.drop();
});

test("work under one name runs on one instance at a time", async () => {
  let running = 0;
  let most = 0;
  await Promise.all(
    instances.map((instance) =>
      underAdvisoryLock(instance, "test", async () => {
        running += 1;
        most = Math.max(most, running);
        await instance.ping();
        running -= 1;
      }),
    ),
  );
  expect(most).toBe(1);
});

test("work under another name does not wait, and the lock ends with work that fails", async () => {
  const [one, two] = instances as [Database, Database];
  const result = underAdvisoryLock(one, "test", async () => {
    expect(await underAdvisoryLock(two, "other", async () => "other")).toBe("other");
    throw new Error("failed");
  });
  await expect(result).rejects.toThrow("failed");
  expect(await underAdvisoryLock(two, "test", async () => "again")).toBe("again");
});
