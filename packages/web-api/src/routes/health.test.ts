import { fastify } from "fastify";
import { expect, onTestFinished, test } from "vitest";
import type { App } from "../app.ts";
import { addHealth } from "./health.ts";

test("names the check that fails, waits for none too long, and tells strangers no internals", async () => {
  let asked = 0;
  const app = fastify() as unknown as App;
  onTestFinished(() => app.close());
  addHealth(app, [
    {
      name: "broken",
      check: async () => {
        asked++;
        throw new Error("password of 10.0.0.7 is wrong");
      },
    },
    { name: "stuck", check: () => new Promise<void>(() => {}) },
    { name: "well", check: async () => {} },
  ]);
  const answers = await Promise.all([1, 2, 3].map(() => app.inject("/health/ready")));
  for (const answer of answers) {
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toEqual({
      status: "not ready",
      checks: [
        { name: "broken", ok: false, reason: "failed" },
        { name: "stuck", ok: false, reason: "No answer within 2000 ms." },
        { name: "well", ok: true },
      ],
    });
  }
  // Who asks at the same time shares one answer.
  expect(asked).toBe(1);
});
