export { openStorage } from "./open-storage.ts";
export type { BlobDigest, BlobRange, BlobStorage, WriteOptions } from "./storage.ts";
