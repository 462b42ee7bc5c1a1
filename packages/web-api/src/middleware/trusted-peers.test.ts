import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { Connection } from "./exchange.ts";
import { createTrustedPeers } from "./trusted-peers.ts";

const from = (remoteAddress: string | undefined): Connection => new Connection({ remoteAddress } as Socket);

test("nobody is trusted when nobody is named", () => {
  expect(createTrustedPeers([])(from("127.0.0.1"))).toBe(false);
});

test.each([
  ["10.1.2.3", true],
  ["10.2.2.3", false],
  ["192.168.0.7", true],
  ["192.168.0.8", false],
  // As a socket for both families names a client of IPv4.
  ["::ffff:10.1.2.3", true],
  ["::ffff:10.2.2.3", false],
  ["2001:db8::1", true],
  ["2001:db9::1", false],
  ["::1", true],
  // Within a link it has the name of its interface.
  ["fe80::1%eth0", false],
  ["fe80::1:1%eth0", true],
  // As hexadecimal digits, too.
  ["::ffff:a01:203", true],
  // A connection that is closed has none, and one of a socket of Unix neither.
  [undefined, false],
])("%s is trusted: %s", (address, expected) => {
  const isTrusted = createTrustedPeers([
    "10.1.0.0/16",
    "192.168.0.7",
    "2001:db8::/32",
    "::1",
    "fe80::1:0/112",
  ]);
  expect(isTrusted(from(address))).toBe(expected);
});

test("a connection is looked up once", () => {
  let asked = 0;
  const connection = new Connection({
    get remoteAddress() {
      asked += 1;
      return "10.1.2.3";
    },
  } as Socket);
  const isTrusted = createTrustedPeers(["10.0.0.0/8"]);
  expect([isTrusted(connection), isTrusted(connection)]).toEqual([true, true]);
  expect(asked).toBe(1);
});
