// Which API and which key a command takes.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startApi, type TestApi } from "../../../tests/api/start-api.ts";
import { type ApiFlags, findTenantId, readApiAccess } from "./api-access.ts";
import { openApi } from "./api-client.ts";
import { recordContext } from "./recorded-context.ts";

const demo = { id: "1", name: "Demo", adminKey: "sk-admin", key: "sk-inference" };
const credentials = { baseUrl: "http://127.0.0.1:8080", operatorKey: "sk-operator", tenants: [demo] };
let folder: string;
let several: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-access-"));
  await writeFile(join(folder, "credentials.json"), JSON.stringify(credentials));
  several = await mkdtemp(join(tmpdir(), "ectus-access-"));
  await writeFile(
    join(several, "credentials.json"),
    JSON.stringify({ ...credentials, tenants: [demo, { ...demo, name: "Acme" }] }),
  );
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await rm(several, { recursive: true });
});

async function access(environment: Record<string, string>, flags: ApiFlags = {}) {
  const { url, key } = await readApiAccess(
    recordContext({ DATA_DIR: folder, ...environment }).context,
    flags,
  );
  return { url, key };
}

describe("the API and the key", () => {
  test("are those of the environment, and the flag goes before it", async () => {
    const environment = { ECTUS_URL: "https://ai.example.com/", ECTUS_API_KEY: "sk-mine" };
    expect(await access(environment)).toEqual({ url: "https://ai.example.com", key: "sk-mine" });
    expect(await access(environment, { url: "http://10.0.0.1:8080/ai/" })).toEqual({
      url: "http://10.0.0.1:8080/ai",
      key: "sk-mine",
    });
    // As a client of OpenAI's API has it.
    expect(await access(environment, { url: "http://10.0.0.1:8080/v1/" })).toMatchObject({
      url: "http://10.0.0.1:8080",
    });
  });

  test("without both they are those of the folder: its one tenant's, or with --tenant the operator's", async () => {
    expect(await access({})).toEqual({ url: "http://127.0.0.1:8080", key: "sk-admin" });
    expect(await access({ ECTUS_URL: "", ECTUS_API_KEY: "" })).toMatchObject({ key: "sk-admin" });
    expect(await access({}, { tenant: "Acme" })).toMatchObject({ key: "sk-operator" });
    expect(await access({ ECTUS_API_KEY: "sk-mine" })).toEqual({
      url: "http://127.0.0.1:8080",
      key: "sk-mine",
    });
  });

  test.each<[string, Record<string, string>, ApiFlags, string]>([
    [
      "a key of the folder is sent nowhere else",
      { ECTUS_URL: "https://evil.example" },
      {},
      "ECTUS_API_KEY: is not set",
    ],
    ["a folder without keys says what is missing", { DATA_DIR: "/nonexistent" }, {}, "ECTUS_URL: is not set"],
    ["what is no URL is told by its name", { ECTUS_URL: "example" }, {}, 'ECTUS_URL: got "example"'],
    [
      "a key with a line break is not sent, nor shown",
      { ECTUS_URL: "http://a", ECTUS_API_KEY: "sk\nx" },
      {},
      "ECTUS_API_KEY: got a value that is no key",
    ],
  ])("%s", async (_what, environment, flags, message) => {
    const failing = access(environment, flags);
    await expect(failing).rejects.toMatchObject({ code: "invalid_config" });
    await expect(failing).rejects.toThrow(message);
  });

  test("of several tenants in the folder one has to be named", async () => {
    await expect(access({ DATA_DIR: several })).rejects.toThrow("accepts one of 'Demo', 'Acme'");
  });
});

describe("a tenant's name", () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  test("is found among more tenants than a page has", async () => {
    await api.sql(
      "insert into tenants (id, name) select gen_random_uuid(), 'Tenant ' || n from generate_series(1, 2100) n",
    );
    const [row] = await api.sql<{ id: string }>("select id from tenants where name = 'Tenant 1234'");
    const client = openApi({ url: api.url, key: api.operatorKey });
    const { signal } = new AbortController();
    expect(await findTenantId(client, "Tenant 1234", signal)).toBe(row?.id);
    await expect(findTenantId(client, "Tenant 0", signal)).rejects.toMatchObject({ code: "not_found" });
  });
});
