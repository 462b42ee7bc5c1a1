import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { checkPort } from "./port.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function serve(body: unknown): Promise<number> {
  const server = createServer((_request, response) => response.end(JSON.stringify(body)));
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return (server.address() as AddressInfo).port;
}

test("port 0 and a free port are well", async () => {
  expect((await checkPort("127.0.0.1", 0)).status).toBe("ok");
  const port = await serve({});
  await new Promise((closed) => servers.pop()?.close(closed));
  expect(await checkPort("127.0.0.1", port)).toMatchObject({ status: "ok", detail: `${port} is free` });
});

test("another program's port fails", async () => {
  for (const body of [{ status: "hello" }, null, "text"]) {
    expect(await checkPort("127.0.0.1", await serve(body))).toMatchObject({
      status: "fail",
      detail: expect.stringContaining("used by another program"),
      fix: expect.stringContaining("--port"),
    });
  }
});

test("an instance that answers is well when it is ready, and a warning with its reasons otherwise", async () => {
  const ready = await serve({ status: "ready", checks: [{ name: "database", ok: true }] });
  expect(await checkPort("127.0.0.1", ready)).toMatchObject({ status: "ok" });
  const checks = [{ name: "database", ok: false, reason: "gone" }];
  const notReady = await serve({ status: "not ready", checks });
  expect(await checkPort("127.0.0.1", notReady)).toMatchObject({
    status: "warn",
    detail: expect.stringContaining("database: gone"),
  });
});

test("an address that is not this machine's fails", async () => {
  expect(await checkPort("192.0.2.1", 8080)).toMatchObject({
    status: "fail",
    detail: expect.stringContaining("cannot listen at 192.0.2.1:8080"),
  });
});
