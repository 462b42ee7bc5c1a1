import { setTimeout as delay } from "node:timers/promises";
import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import { unlessFailed } from "./open-postgres.ts";

const ended = () => new EctusError("embedded_postgres_failed", { reason: "it ended by itself" });

test("work that fails because its server ends fails with the server's reason, which comes a little later", async () => {
  const broken = Promise.reject(new Error("Connection terminated unexpectedly"));
  const failed = delay(20).then((): never => {
    throw ended();
  });
  await expect(unlessFailed(broken, failed)).rejects.toMatchObject({ code: "embedded_postgres_failed" });
});

test("a server that ends ends the work that waits", async () => {
  const never = new Promise<void>(() => {});
  await expect(unlessFailed(never, Promise.reject(ended()))).rejects.toMatchObject({
    code: "embedded_postgres_failed",
  });
});

test("what fails by itself says so itself, and what is done is done", async () => {
  const never = new Promise<never>(() => {});
  await expect(unlessFailed(Promise.reject(new Error("own")), never)).rejects.toThrow("own");
  await expect(unlessFailed(Promise.resolve(1), never)).resolves.toBe(1);
});
