// Whose word on traces is believed, by the address that a connection comes from.
import { BlockList, isIPv4, isIPv6 } from "node:net";
import type { Connection } from "./exchange.ts";

/** @param peers IP addresses and CIDR ranges; those of IPv4 fit, too, as a socket for both families names them */
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

/** @param address undefined for a socket of Unix, or one that is closed */
function isListed(list: BlockList, address = ""): boolean {
  return list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}
