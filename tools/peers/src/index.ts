export { findPeer, peer, requirePeer } from "./find.ts";
export type { PeerPaths } from "./peer.ts";
export type { PathsOf, PeerName } from "./registry.ts";
