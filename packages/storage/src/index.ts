export { openStorage } from "./open-storage.ts";
export type { BlobDigest, BlobRange, BlobReader, BlobStorage, WriteOptions } from "./storage.ts";
