import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { EctusError } from "@ectus/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { until } from "../../../tests/postgres/until.ts";
import { type BlobSource, type Chunk, type Piece, readPieces, sendChunks, withFirst } from "./blob-pieces.ts";

const blob = Buffer.from(Array.from({ length: 100 }, (_, index) => index));
const never = new AbortController().signal;
const kinds = ["streams", "readers"] as const;

/** A storage of one content, which it gives in chunks of some length; and whether all that was opened is closed. */
function storageOf(kind: (typeof kinds)[number], content: Buffer, atATime = 7) {
  const open: (() => boolean)[] = [];
  const source: BlobSource = {
    open:
      kind === "streams"
        ? undefined
        : async () => {
            let isClosed = false;
            open.push(() => isClosed);
            return {
              bytes: content.length,
              read: async (into, position) =>
                content.copy(into, 0, position, position + Math.min(atATime, into.length)),
              close: async () => {
                isClosed = true;
              },
            };
          },
    stream: async (_blobId, { start, end }) => {
      const chunks = [];
      for (let at = start; at <= end && at < content.length; at += atATime)
        chunks.push(content.subarray(at, Math.min(at + atATime, end + 1)));
      const stream = Readable.from(chunks);
      open.push(() => stream.closed);
      return stream;
    },
  };
  return { source, open, isClosed: () => open.every((isClosed) => isClosed()) };
}

const piece = (start: number, end: number): Piece => ({ blobId: "any", bytes: blob.length, start, end });

async function allOf(chunks: AsyncIterable<Chunk>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const { bytes, release } of chunks) {
    // Its memory is used again from then on.
    all.push(Buffer.from(bytes));
    release();
  }
  return Buffer.concat(all);
}

describe.each(kinds)("pieces from a storage with %s", (kind) => {
  test("of any kind and order come as one, whatever the chunks", async () => {
    const anyPiece = fc.oneof(
      fc
        .uint8Array({ maxLength: 20 })
        .map((bytes) => ({ expected: Buffer.from(bytes), piece: Buffer.from(bytes) })),
      fc
        .tuple(fc.nat({ max: 99 }), fc.nat({ max: 99 }))
        .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
        .map(([start, end]) => ({ expected: blob.subarray(start, end + 1), piece: piece(start, end) })),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyPiece, { maxLength: 6 }),
        fc.integer({ min: 1, max: 120 }),
        async (all, size) => {
          const { source, isClosed } = storageOf(kind, blob, size);
          const pieces = all.map((one) => one.piece);
          expect(await allOf(readPieces(pieces, source, never))).toEqual(
            Buffer.concat(all.map(({ expected }) => expected)),
          );
          await until(isClosed);
        },
      ),
    );
  });

  test("are opened when it is their turn and not before, and closed when they are left", async () => {
    const { source, open, isClosed } = storageOf(kind, blob, 10);
    const chunks = await withFirst(readPieces([piece(0, 99), piece(0, 99)], source, never));
    expect(open).toHaveLength(1);
    await chunks.return?.();
    await until(isClosed);
    expect(open).toHaveLength(1);
  });

  test.each([
    ["shorter", blob.subarray(0, 99)],
    ["empty", Buffer.alloc(0)],
    ["longer", Buffer.concat([blob, blob])],
    ["one byte longer", Buffer.concat([blob, Buffer.alloc(1)])],
  ])("that are %s than they should be break before the last byte", async (_, content) => {
    for (const atATime of [1, 50, 99, 100, 101, 1_000]) {
      const { source, isClosed } = storageOf(kind, content, atATime);
      let received = 0;
      const reading = (async () => {
        for await (const { bytes } of readPieces([piece(0, 99)], source, never)) received += bytes.length;
      })();
      await expect(reading).rejects.toMatchObject({ code: "storage_error" });
      expect(received).toBeLessThan(100);
      await until(isClosed);
    }
  });

  test("are not opened for a client that has left", async () => {
    const controller = new AbortController();
    controller.abort(new EctusError("client_closed_request"));
    const { source, open } = storageOf(kind, blob);
    await expect(allOf(readPieces([piece(0, 99)], source, controller.signal))).rejects.toMatchObject({
      code: "client_closed_request",
    });
    expect(open).toEqual([]);
  });
});

test("a blob that shrinks while it is read breaks the answer", async () => {
  const { source } = storageOf("readers", blob.subarray(0, 50));
  const shrinking: BlobSource = {
    ...source,
    open: async (blobId) => {
      const { read, close } = await (source.open as NonNullable<BlobSource["open"]>)(blobId);
      return { bytes: 100, read, close };
    },
  };
  await expect(allOf(readPieces([piece(0, 99)], shrinking, never))).rejects.toMatchObject({
    code: "storage_error",
  });
});

test("a client that leaves ends the reading of a storage that is silent", async () => {
  const silent = new Readable({ read() {} });
  silent.push(blob.subarray(0, 10));
  const controller = new AbortController();
  const received = allOf(
    readPieces(
      [Buffer.from("header"), piece(0, 99)],
      { open: undefined, stream: async () => silent },
      controller.signal,
    ),
  );
  received.catch(() => {});
  await until(() => silent.listenerCount("error") > 0);
  controller.abort(new EctusError("client_closed_request"));
  await expect(received).rejects.toMatchObject({ code: "client_closed_request" });
  expect(silent.destroyed).toBe(true);
});

describe("sending", () => {
  /** Answers one request by `answer`, and gives what its client received. */
  async function answered(
    answer: (response: ServerResponse) => Promise<void>,
    read: (response: Response) => Promise<unknown> = async (response) =>
      Buffer.from(await response.arrayBuffer()),
  ) {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const server = createServer((_request, response) => {
      answer(response).then(resolve, (error) => {
        response.destroy();
        resolve(error);
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const received = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`).then(read);
      return { received, error: await promise };
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  test("uses memory again only when it was sent", async () => {
    const content = Buffer.alloc(20_000_000);
    for (let at = 0; at < content.length; at += 4) content.writeUInt32LE(at, at);
    const { source } = storageOf("readers", content, 1_000_000_000);
    const buffers = new Set<ArrayBufferLike>();
    async function* watched(chunks: AsyncIterable<Chunk>) {
      for await (const chunk of chunks) {
        buffers.add(chunk.bytes.buffer);
        yield chunk;
      }
    }
    const pieces = [{ blobId: "any", bytes: content.length, start: 0, end: content.length - 1 }];
    const { received } = await answered((response) =>
      sendChunks(response, watched(readPieces(pieces, source, never)), never),
    );
    expect((received as Buffer).equals(content)).toBe(true);
    // The last may be one of its own length.
    expect(buffers.size).toBeLessThanOrEqual(5);
  });

  test("waits for a client that takes nothing, and ends when it leaves", async () => {
    const controller = new AbortController();
    let sent = 0;
    async function* endless() {
      // A bound, or a fault would go on for ever.
      while (sent < 1_000) {
        sent += 1;
        yield { bytes: Buffer.alloc(4_000_000), release() {} };
      }
    }
    const { error } = await answered(
      (response) => {
        response.once("close", () => controller.abort(new EctusError("client_closed_request")));
        return sendChunks(response, endless(), controller.signal);
      },
      async (response) => {
        let seen = -1;
        // Until nothing more is asked for.
        await until(
          () => {
            const isSame = seen === sent && sent > 0;
            seen = sent;
            return isSame;
          },
          10_000,
          100,
        );
        await response.body?.cancel();
      },
    );
    expect(error).toMatchObject({ code: "client_closed_request" });
    expect(sent).toBeLessThan(20);
  });
});
