// Whose word on traces is believed, by the address that a connection comes from.
import { BlockList, isIPv4, isIPv6 } from "node:net";
import type { Connection } from "./exchange.ts";

/** @param peers IP addresses and CIDR ranges */
export function createTrustedPeers(peers: readonly string[]): (connection: Connection) => boolean {
  if (peers.length === 0) return () => false;
  const list = new BlockList();
  for (const peer of peers) {
    const [address = "", prefix] = peer.split("/");
    const family = isIPv6(address) ? "ipv6" : "ipv4";
    if (prefix === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(prefix), family);
  }
  return (connection) => {
    connection.isTrusted ??= isListed(list, connection.socket.remoteAddress);
    return connection.isTrusted;
  };
}

// What a socket for both families calls a client of the older one.
const mapped = /^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i;

function isListed(list: BlockList, remoteAddress: string | undefined): boolean {
  const address = remoteAddress?.replace(mapped, "") ?? "";
  if (isIPv4(address)) return list.check(address, "ipv4");
  return isIPv6(address) && list.check(address, "ipv6");
}
