import { createSigningKey, parseSigningKeys, publicKeyBytes } from "@ectus/bag";
import { EctusError } from "@ectus/core";
import { type Database, insertSigningKeys, type SigningKeyRow } from "@ectus/database";
import { fastify } from "fastify";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startApi, type TestApi } from "../../../../tests/api/start-api.ts";
import type { App } from "../app.ts";
import { addSigningKeys } from "./signing-keys.ts";

const keys = ["A", "B", "C"].map((letter) => createSigningKey(letter.repeat(43)).publicKey);
const rowOf = (key: (typeof keys)[number]): SigningKeyRow => ({
  kid: key.kid,
  publicKey: publicKeyBytes(key),
});

describe("GET /v1/signing-keys", () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startApi();
    await insertSigningKeys(api.database, keys.slice(1).map(rowOf));
    await insertSigningKeys(api.database, keys.slice(0, 1).map(rowOf));
  });
  afterAll(() => api.close());

  test.each([
    ["nobody", null],
    ["a key that is none", "sk-wrong"],
  ])("answers %s with every key, the newest first, as others read them", async (_, key) => {
    const { status, headers, json, text } = await api.request("GET", "/v1/signing-keys", { key });
    expect(status).toBe(200);
    expect(headers.get("cache-control")).toBe("public, max-age=300");
    expect(headers.get("content-type")).toMatch(/^application\/json/);
    expect(json).toEqual({ keys });
    expect(parseSigningKeys(text)).toEqual(keys);
  });

  test.each([
    ["HEAD", 200],
    ["POST", 405],
    ["DELETE", 405],
  ])("answers %s with %i", async (method, status) => {
    expect((await api.request(method, "/v1/signing-keys")).status).toBe(status);
  });
});

describe("the keys", () => {
  /** The route on a database of which only this one question is asked. */
  function serve(run: () => Promise<SigningKeyRow[]>) {
    let nowMs = 0;
    let asked = 0;
    const app = fastify() as unknown as App;
    onTestFinished(() => app.close());
    const database = {
      run: () => {
        asked++;
        return run();
      },
    } as unknown as Database;
    addSigningKeys(app, database, () => nowMs);
    return {
      get: () => app.inject("/v1/signing-keys"),
      pass: (ms: number) => {
        nowMs += ms;
      },
      asked: () => asked,
    };
  }

  test("are asked of the database once in five seconds, however many ask", async () => {
    const rows = keys.slice(1).map(rowOf);
    const { get, pass, asked } = serve(async () => [...rows]);
    await Promise.all([get(), get(), get()]);
    pass(4_999);
    rows.unshift(...keys.slice(0, 1).map(rowOf));
    expect((await get()).json()).toEqual({ keys: keys.slice(1) });
    expect(asked()).toBe(1);
    pass(1);
    expect((await get()).json()).toEqual({ keys });
    expect(asked()).toBe(2);
  });

  test("that could not be read are asked for again by the next", async () => {
    let fails = true;
    const { get } = serve(async () => {
      if (fails) throw new EctusError("database_unavailable");
      return [];
    });
    expect((await get()).statusCode).toBe(500);
    fails = false;
    const answer = await get();
    expect([answer.statusCode, answer.json()]).toEqual([200, { keys: [] }]);
  });
});
