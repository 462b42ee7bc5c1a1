import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "@ectus/core";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { startUpstream } from "../../../../tests/openai-upstream/upstream.ts";
import { checkModels } from "./models.ts";

let folder: string;
const servers: Server[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-models-"));
  vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const server of servers.splice(0)) server.close();
  await rm(folder, { recursive: true });
});

async function check(providers: string) {
  const file = join(folder, "providers.yaml");
  await writeFile(
    file,
    `providers:\n  it: ${providers}\nmodels:\n  m: { operations: [chat], routes: [{ provider: it, model: m }] }\n`,
  );
  const environment = { AI_PROVIDERS: file, UPSTREAM_KEY: "sk-upstream" };
  return checkModels({ environment, config: loadConfig(environment), dataDir: folder });
}

async function answering(status: number): Promise<string> {
  const server = createServer((_request, response) => response.writeHead(status).end());
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
}

describe("an upstream", () => {
  test("is asked for its models with its key and headers", async () => {
    const upstream = await startUpstream();
    try {
      const checks = await check(
        `{ type: openai, baseUrl: "${upstream.baseUrl}/", apiKey: "\${UPSTREAM_KEY}", headers: { x-team: blue } }`,
      );
      expect(checks.map(({ status }) => status)).toEqual(["ok", "ok"]);
      const { path, headers } = await upstream.nextRequest();
      expect(path).toBe("/v1/models");
      expect(headers).toMatchObject({ authorization: "Bearer sk-upstream", "x-team": "blue" });
    } finally {
      await upstream.close();
    }
  });

  test.each([
    [401, "warn", "Put a valid key"],
    [403, "warn", "Put a valid key"],
    [429, "warn", "try again later"],
    [503, "warn", "try again later"],
  ])("that answers %i is a %s that says what to do", async (status, expected, fix) => {
    const [, found] = await check(
      `{ type: openai, baseUrl: "${await answering(status)}", apiKey: sk-secret }`,
    );
    expect(found).toMatchObject({ status: expected, fix: expect.stringContaining(fix) });
    expect(JSON.stringify(found)).not.toContain("sk-secret");
  });

  test("without a list of models is well", async () => {
    const [, found] = await check(`{ type: openai, baseUrl: "${await answering(404)}" }`);
    expect(found).toMatchObject({ status: "ok", detail: expect.stringContaining("(404)") });
  });

  test("that cannot be reached is a warning with the reason", async () => {
    const [, found] = await check(`{ type: openai, baseUrl: "http://127.0.0.1:1/v1" }`);
    expect(found).toMatchObject({
      status: "warn",
      detail: expect.stringMatching(/cannot be reached \(.+\)/),
    });
  });
});

describe("model files", () => {
  test("that are there are well, and those that are not fail", async () => {
    const path = join(folder, "m.gguf");
    const providers = `{ type: llama.cpp, models: { m: "${path}" } }`;
    expect((await check(providers))[1]).toMatchObject({ status: "fail", detail: `no file ${path}` });
    await writeFile(path, "");
    expect((await check(providers))[1]).toMatchObject({ status: "ok" });
  });
});

test("a providers file with faults fails and tells them", async () => {
  expect(await check("{ type: nonsense }")).toEqual([
    expect.objectContaining({
      status: "fail",
      detail: expect.stringContaining("accepts openai or llama.cpp"),
    }),
  ]);
});

test("a built-in model that is not here is a warning, since the next start gets it", async () => {
  const [found] = await checkModels({ environment: {}, config: loadConfig({}), dataDir: folder });
  expect(found).toMatchObject({ status: "warn", fix: expect.stringContaining("ectus model pull") });
});
