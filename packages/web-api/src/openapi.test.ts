// The OpenAPI document, read by a validator that is not ours.
import { Validator } from "@seriousme/openapi-schema-validator";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startApi, type TestApi } from "../../../tests/api/start-api.ts";

let api: TestApi;

beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

describe("the OpenAPI document", () => {
  test("is valid OpenAPI 3.1", async () => {
    const { json } = await api.request("GET", "/docs/json");
    expect(json.openapi).toBe("3.1.0");
    const result = await new Validator().validate(json);
    expect(result.errors ?? []).toEqual([]);
    expect(result.valid).toBe(true);
  });

  test("has every route with its errors, and says which need a key", async () => {
    const { json } = await api.request("GET", "/docs/json");
    for (const { method, url, scope } of api.server.routes) {
      if (method === "HEAD" || url.startsWith("/docs")) continue;
      const path = url.replace(/:(\w+)/g, "{$1}").replace(/\*$/, "{path}");
      const operation = json.paths[path]?.[method.toLowerCase()];
      expect(operation?.summary, `${method} ${url}`).toBeTypeOf("string");
      if (scope === undefined) {
        expect(operation.security, url).toEqual([]);
      } else {
        expect(Object.keys(operation.responses), url).toEqual(expect.arrayContaining(["2XX", "4XX", "5XX"]));
      }
    }
  });

  test("is shown as a page that loads nothing from elsewhere", async () => {
    const page = await api.request("GET", "/docs");
    expect(page.status).toBe(200);
    expect(page.headers.get("content-type")).toContain("text/html");
    expect(page.text).not.toMatch(/(src|href)="https?:/);
  });
});
