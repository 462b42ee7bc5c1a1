// Connections that cannot be made, in words that say why.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { openApi } from "./api-client.ts";

test("https to a server without TLS is told without the words of OpenSSL", async () => {
  await using server = createServer((_request, response) => void response.end("{}"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { signal } = new AbortController();
  await expect(openApi({ url, key: "sk-test" }).json("/", { signal })).rejects.toThrow(
    `${url} cannot be reached: it does not speak TLS; try http:// in place of https://.`,
  );
});
