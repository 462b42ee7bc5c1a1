// The OpenAPI document, read by a validator that is not ours.
import { Validator } from "@seriousme/openapi-schema-validator";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeReadyExport } from "../../../tests/api/ready-export.ts";
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

  test("has every answer of a download, and every header of it", async () => {
    const tenant = await api.makeTenant();
    const { key } = await api.makeKey(tenant.id, ["admin"]);
    const { id, digest } = await makeReadyExport(api, tenant.id);
    const { json } = await api.request("GET", "/docs/json");
    // Those of every answer.
    const common = ["connection", "date", "keep-alive", "transfer-encoding", "x-request-id"];
    const ranges = [{}, { range: "bytes=1-2" }, { range: "bytes=99999999-" }, { "if-none-match": "*" }];
    for (const rest of ["/download", "/files/bagit.txt"]) {
      const path = `/v1/exports/{id}${rest.replace("bagit.txt", "{path}")}`;
      const { responses } = json.paths[path].get;
      for (const headers of ranges) {
        const answer = await api.request("GET", `/v1/exports/${id}${rest}`, { key, headers });
        const described = responses[answer.status] ?? responses[`${String(answer.status)[0]}XX`];
        expect(described?.description, `${answer.status} of ${path}`).toBeTypeOf("string");
        const named = Object.keys(described.headers ?? {});
        const sent = [...answer.headers.keys()].filter(
          (name) => !common.includes(name) && name !== "content-type",
        );
        expect(named, `${answer.status} of ${path}`).toEqual(
          expect.arrayContaining(sent.filter((name) => answer.status < 400 || name !== "content-length")),
        );
      }
    }
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    const keys = await api.request("GET", "/v1/signing-keys");
    expect(keys.headers.has("cache-control")).toBe(true);
    expect(json.paths["/v1/signing-keys"].get.responses["2XX"].headers).toHaveProperty("cache-control");
  });

  test("is shown as a page that loads nothing from elsewhere", async () => {
    const page = await api.request("GET", "/docs");
    expect(page.status).toBe(200);
    expect(page.headers.get("content-type")).toContain("text/html");
    expect(page.text).not.toMatch(/(src|href)="https?:/);
  });
});
