import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { sendLargeBodies } from "./large-bodies.ts";

test("bodies grow while they are read quickly, can be read, and end when they are ended", async () => {
  const parts: number[] = [];
  const server = createServer(async (request, response) => {
    const body = JSON.parse(await text(request));
    parts.push(body.messages.length);
    expect(request.headers.authorization).toBe("Bearer key");
    response.writeHead(404).end("{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const { signal } = new AbortController();
  const end = sendLargeBodies({ baseUrl: `http://127.0.0.1:${port}`, key: "key", signal });
  try {
    await until(() => parts.length >= 2, 20_000);
  } finally {
    await end();
  }
  expect(parts[0]).toBe(400_000);
  expect(parts[1]).not.toBe(parts[0]);
  server.close();
  server.closeAllConnections();
  await once(server, "close");
});
