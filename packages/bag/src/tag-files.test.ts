import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { parseElements } from "./bag-info.ts";
import type { ExportedFile } from "./export-document.ts";
import { parseManifest } from "./manifest.ts";
import { parseExportDocument } from "./parse-export-document.ts";
import { checkBagSignature } from "./signature.ts";
import { createSigningKey } from "./signing-key.ts";
import { type PayloadFile, type TagFilesOptions, tagFileNames, writeTagFiles } from "./tag-files.ts";
import { exampleFile, exampleHead } from "./testing/example-document.ts";

const key = createSigningKey("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
const sha256Of = (text: string | Buffer): string => createHash("sha256").update(text).digest("hex");
const payloadOf = (count: number): PayloadFile[] =>
  Array.from({ length: count }, (_, number) => exampleFile(number));

/** Keeps what is written in memory. */
function memory() {
  const files = new Map<string, string>();
  let mostInChunk = 0;
  return {
    files,
    get mostInChunk() {
      return mostInChunk;
    },
    async write(path: string, source: AsyncIterable<Uint8Array>) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of source) {
        mostInChunk = Math.max(mostInChunk, chunk.length);
        chunks.push(chunk);
      }
      const bytes = Buffer.concat(chunks);
      files.set(path, bytes.toString());
      return { bytes: bytes.length, sha256: sha256Of(bytes) };
    },
  };
}

async function* streamOf<T>(all: Iterable<T>): AsyncGenerator<T> {
  yield* all;
}

function optionsFor(
  payload: readonly PayloadFile[],
  files: readonly ExportedFile[] | null,
  write: TagFilesOptions["write"],
): TagFilesOptions {
  return {
    head: exampleHead,
    files: files && streamOf(files),
    payload: streamOf(payload),
    payloadFiles: payload.length,
    payloadBytes: payload.reduce((sum, { bytes }) => sum + bytes, 0),
    baggedAt: new Date("2026-11-24T23:10:00Z"),
    key,
    write,
  };
}

test("every tag file is written, in order, and each says what the others are", async () => {
  const { files, write } = memory();
  const named = [exampleFile(0), exampleFile(1)];
  const { bagDigest, files: written } = await writeTagFiles(optionsFor(payloadOf(2), named, write));
  const text = (path: string): string => files.get(path) ?? "";
  expect([...files.keys()]).toEqual([...tagFileNames]);
  expect(written).toEqual(
    tagFileNames.map((path) => ({
      path,
      bytes: Buffer.byteLength(text(path)),
      sha256: sha256Of(text(path)),
    })),
  );
  expect(bagDigest).toBe(sha256Of(text("tagmanifest-sha256.txt")));
  expect(parseManifest(text("manifest-sha256.txt"))).toEqual({
    entries: payloadOf(2).map(({ sha256, path }) => ({ sha256, path })),
    faults: [],
  });
  // All but itself and the signature of it.
  expect(parseManifest(text("tagmanifest-sha256.txt")).entries).toEqual(
    written.slice(0, 4).map(({ sha256, path }) => ({ sha256, path })),
  );
  const { elements } = parseElements(text("bag-info.txt"));
  expect(elements).toContainEqual(["Payload-Oxum", "2001.2"]);
  expect(elements).toContainEqual(["Source-Organization", "Acme \u{1f42a} Corp."]);
  expect(parseExportDocument(text("export.json"))).toEqual({ ...exampleHead, files: named });
  const digests = { tagManifestSha256: bagDigest, exportJsonSha256: sha256Of(text("export.json")) };
  expect(checkBagSignature(text("export.json.sig"), digests, [key.publicKey]).state).toBe("valid");
});

test("a bag without payload has an empty manifest", async () => {
  const { files, write } = memory();
  await writeTagFiles(optionsFor([], null, write));
  expect(files.get("manifest-sha256.txt")).toBe("");
  expect(files.get("bag-info.txt")).toContain("Payload-Oxum: 0.0\n");
});

test("the same bag is written again byte by byte", async () => {
  const [one, other] = [memory(), memory()];
  for (const { write } of [one, other])
    await writeTagFiles(optionsFor(payloadOf(10), [exampleFile(3)], write));
  expect(other.files).toEqual(one.files);
});

test("a hundred thousand files pass in small pieces", async () => {
  const written = memory();
  await writeTagFiles(optionsFor(payloadOf(100_000), payloadOf(100_000) as ExportedFile[], written.write));
  expect(parseManifest(written.files.get("manifest-sha256.txt") ?? "").entries).toHaveLength(100_000);
  expect(written.mostInChunk).toBeLessThan(70_000);
}, 60_000);

describe("a bag is given up, without a signature,", () => {
  const whole = optionsFor(payloadOf(3), null, async () => ({ bytes: 0, sha256: "" }));
  test.each<[string, () => Partial<TagFilesOptions>, RegExp]>([
    [
      "when a file is missing from the list",
      () => ({ payload: streamOf(payloadOf(2)) }),
      /its 2 files of 2001 bytes are not the 3 of 3003/,
    ],
    ["when a file is too many", () => ({ payload: streamOf(payloadOf(4)) }), /its 4 files/],
    [
      "when a length is another",
      () => ({ payload: streamOf(payloadOf(3)), payloadBytes: 1 }),
      /not the 3 of 1 that/,
    ],
    [
      "when a path is no payload's",
      () => ({ payload: streamOf([{ ...exampleFile(1), path: "export.json" }]) }),
      /export.json is not in the folder data/,
    ],
    [
      "when a path leads elsewhere",
      () => ({ payload: streamOf([{ ...exampleFile(1), path: "data/../../x" }]) }),
      /leads out of its folder/,
    ],
    [
      "when a digest is none",
      () => ({ payload: streamOf([{ ...exampleFile(1), sha256: "" }]) }),
      /is no SHA-256/,
    ],
  ])("%s", async (_, change, message) => {
    const { files, write } = memory();
    await expect(writeTagFiles({ ...whole, ...change(), write })).rejects.toThrow(message);
    expect(files.has("manifest-sha256.txt")).toBe(false);
    expect(files.has("export.json.sig")).toBe(false);
  });

  test("when the storage fails", async () => {
    const { files, write } = memory();
    const failing: TagFilesOptions["write"] = async (path, source) => {
      if (path === "export.json") throw new Error("the disk is full");
      return write(path, source);
    };
    const writing = writeTagFiles(optionsFor(payloadOf(3), null, failing));
    await expect(writing).rejects.toThrow("the disk is full");
    expect(files.has("tagmanifest-sha256.txt")).toBe(false);
  });
});
