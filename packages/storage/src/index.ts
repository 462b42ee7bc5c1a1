export { openStorage } from "./open-storage.ts";
export { removeBlobs } from "./remove-blobs.ts";
export type { BlobDigest, BlobRange, BlobReader, BlobStorage, WriteOptions } from "./storage.ts";
