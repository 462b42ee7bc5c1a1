// A storage whose files break off within their contents, as on a disk that is taken away while it is read.
import { Readable } from "node:stream";
import type { BlobStorage } from "@ectus/storage";

/** As it says of every file. */
const bytes = 300_000;
const pieceBytes = 65_536;
const readPieces = 4;

export const brokenStorage = {
  async write(_tenantId: string, _blobId: string, source: AsyncIterable<Uint8Array>) {
    for await (const _chunk of source);
    return { bytes, sha256: "0".repeat(64) };
  },
  read: async () => {
    let sent = 0;
    return new Readable({
      read() {
        if (sent === readPieces) this.destroy(new Error("the disk is gone"));
        else this.push(Buffer.alloc(pieceBytes));
        sent += 1;
      },
    });
  },
  remove: async () => {},
} as unknown as BlobStorage;
