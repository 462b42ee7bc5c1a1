import { createRowDigest } from "@ectus/bag";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { RowBlock } from "../snapshot.ts";
import { createCopyDecoder } from "./copy-decoder.ts";
import { createRowBlocks } from "./row-blocks.ts";

type Format = "csv" | "ndjson";

// Messages as PostgreSQL 18 sends them.
function message(code: string, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  const frame = Buffer.alloc(5);
  frame.write(code, "latin1");
  frame.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([frame, bytes]);
}

const binaryHeader = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");
const trailer = Buffer.from([0xff, 0xff]);
const notice = message("N", "SWARNING\0Mtake care\0\0");
const parameter = message("S", "TimeZone\0UTC\0");
const notification = message("A", "\0\0\0\x01channel\0payload\0");
const copyOutResponse = message("H", "\0\0\x01\0\0");
const copyDone = message("c", "");
const ending = Buffer.concat([copyDone, message("C", "COPY 3\0"), message("Z", "T")]);
const failure = Buffer.concat([message("E", "SERROR\0C22012\0Mdivision by zero\0\0"), message("Z", "E")]);

/** @param headerApart whether the header of the binary format has a message of its own, as it may have had once */
function rowMessages(format: Format, rows: readonly string[], headerApart = false): Buffer[] {
  if (format === "csv") return rows.map((row) => message("d", `${row}\n`));
  const contents = rows.map((row) => {
    const bytes = Buffer.from(row);
    const head = Buffer.alloc(6);
    head.writeInt16BE(1);
    head.writeInt32BE(bytes.length, 2);
    return Buffer.concat([head, bytes]);
  });
  contents.push(trailer);
  const [first = trailer, ...others] = contents;
  const beginning = headerApart ? [binaryHeader, first] : [Buffer.concat([binaryHeader, first])];
  return [...beginning, ...others].map((content) => message("d", content));
}

interface Decoded {
  readonly blocks: readonly RowBlock[];
  /** What was for pg's parser, in order. */
  readonly passed: Buffer;
  readonly rest: Buffer | undefined;
}

function decode(format: Format, stream: Buffer, cuts: readonly number[], blockBytes: number): Decoded {
  const blocks: RowBlock[] = [];
  const passed: Buffer[] = [];
  const lineEnd = format === "csv" ? "\r\n" : "\n";
  const rows = createRowBlocks({ lineEnd, blockBytes, onBlock: (block) => blocks.push(block) });
  const decoder = createCopyDecoder({ format, rows, pass: (bytes) => passed.push(Buffer.from(bytes)) });
  const ends = cuts.map((cut) => cut % stream.length).sort((a, b) => a - b);
  let start = 0;
  let rest: Buffer | undefined;
  for (const end of [...ends, stream.length]) {
    // A buffer of its own that is overwritten afterwards, as that of a socket may be.
    const chunk = Buffer.from(stream.subarray(start, end));
    rest = decoder.decode(chunk);
    start = end;
    if (rest !== undefined) {
      rest = Buffer.concat([rest, stream.subarray(end)]);
      break;
    }
    chunk.fill("?");
  }
  rows.finish();
  return { blocks, passed: Buffer.concat(passed), rest };
}

/** The blocks as the contract has them, made of the rows as they are. */
function blocksOf(format: Format, rows: readonly string[], blockBytes: number) {
  const lineEnd = format === "csv" ? "\r\n" : "\n";
  const digest = createRowDigest();
  const blocks: object[] = [];
  let bytes = Buffer.alloc(0);
  let lastRow = "";
  const flush = (endsRow: boolean): void => {
    blocks.push({ text: bytes.toString("latin1"), rows: digest.rows, digest: digest.sum, endsRow, lastRow });
    digest.reset();
    bytes = Buffer.alloc(0);
    lastRow = "";
  };
  for (const row of rows) {
    let left = Buffer.from(row);
    const whole = left;
    const isInPieces = whole.length + lineEnd.length > blockBytes;
    if (isInPieces) {
      while (left.length > 0) {
        const room = blockBytes - bytes.length;
        bytes = Buffer.concat([bytes, left.subarray(0, room)]);
        left = left.subarray(room);
        if (bytes.length === blockBytes) flush(false);
      }
    }
    bytes = Buffer.concat([bytes, left, Buffer.from(lineEnd)]);
    digest.add(whole, 0, whole.length);
    lastRow = whole.toString("latin1").slice(0, 4_096);
    if (bytes.length >= blockBytes || isInPieces) flush(true);
  }
  if (bytes.length > 0) flush(true);
  return blocks;
}

const shown = ({ bytes, rows, digest, endsRow, lastRow }: RowBlock) => ({
  text: bytes.toString("latin1"),
  rows,
  digest,
  endsRow,
  lastRow: lastRow.toString("latin1"),
});

const formats: readonly Format[] = ["csv", "ndjson"];
const texts = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.string({ unit: "binary", maxLength: 40 }) },
    { weight: 1, arbitrary: fc.string({ unit: "grapheme", minLength: 100, maxLength: 400 }) },
    { weight: 1, arbitrary: fc.constantFrom("", "\n", "\r\n", "a\nb", "x".repeat(9_000)) },
  ),
  { maxLength: 30 },
);
const between = fc.array(fc.tuple(fc.nat(100), fc.constantFrom(notice, parameter, notification)), {
  maxLength: 4,
});

test.each(formats)(
  "%s rows are the same however the messages are cut, and others are passed on",
  (format) => {
    fc.assert(
      fc.property(
        texts,
        between,
        fc.array(fc.nat(100_000), { maxLength: 60 }),
        fc.constantFrom(1, 2, 3, 10, 64, 200, 5_000, 1_000_000),
        fc.boolean(),
        fc.constantFrom(ending, failure),
        (rows, others, cuts, blockBytes, headerApart, end) => {
          const messages = rowMessages(format, rows, headerApart);
          for (const [place, other] of others) messages.splice(place % (messages.length + 1), 0, other);
          const stream = Buffer.concat([copyOutResponse, ...messages, end]);
          const { blocks, passed, rest } = decode(format, stream, cuts, blockBytes);
          expect(blocks.map(shown)).toEqual(blocksOf(format, rows, blockBytes));
          expect(rest).toEqual(end);
          const isOther = (bytes: Buffer): boolean => others.some(([, other]) => other === bytes);
          expect(passed).toEqual(Buffer.concat([copyOutResponse, ...messages.filter(isOther)]));
        },
      ),
      { numRuns: 400 },
    );
  },
);

test.each(formats)("%s rows are the same byte by byte", (format) => {
  const rows = ["", "a", "second row", "x".repeat(100), "ü\n"];
  const stream = Buffer.concat([copyOutResponse, ...rowMessages(format, rows), ending]);
  const everywhere = Array.from({ length: stream.length }, (_, index) => index);
  const { blocks, rest } = decode(format, stream, everywhere, 50);
  expect(blocks.map(shown)).toEqual(blocksOf(format, rows, 50));
  expect(rest).toEqual(ending);
});

test.each(formats)("an error that comes instead of %s rows is left to pg", (format) => {
  const { blocks, passed, rest } = decode(format, failure, [3], 100);
  expect(blocks).toEqual([]);
  expect(passed).toHaveLength(0);
  expect(rest).toEqual(failure);
});

test("no block is larger than its size and what fits in no block of it, and a row in pieces is never held whole", () => {
  const row = "y".repeat(1_000_000);
  const stream = Buffer.concat([copyOutResponse, ...rowMessages("ndjson", ["a", row, "b"]), ending]);
  const cuts = Array.from({ length: 30 }, (_, index) => index * 33_333);
  const { blocks } = decode("ndjson", stream, cuts, 10_000);
  expect(Math.max(...blocks.map(({ bytes }) => bytes.buffer.byteLength))).toBeLessThanOrEqual(20_004);
  expect(blocks.filter(({ endsRow }) => !endsRow)).toHaveLength(100);
  expect(blocks.at(-2)).toMatchObject({ rows: 1, endsRow: true });
  expect(blocks.at(-1)).toMatchObject({ rows: 1, lastRow: Buffer.from("b") });
  expect(Buffer.concat(blocks.map(({ bytes }) => bytes)).toString()).toBe(`a\n${row}\nb\n`);
});

test("each row that is larger than a block ends one, so that there can be a cut after it", () => {
  const rows = Array.from({ length: 9 }, (_, index) => "y".repeat(1_000 + index));
  const stream = Buffer.concat([copyOutResponse, ...rowMessages("ndjson", rows), ending]);
  const { blocks } = decode("ndjson", stream, [], 700);
  expect(blocks.filter(({ endsRow }) => endsRow)).toHaveLength(9);
});

test("what cannot be a COPY of the format is refused", () => {
  const binary = (...contents: readonly (Buffer | string)[]): Buffer =>
    Buffer.concat([...contents.map((content) => message("d", content)), ending]);
  const twoFields = Buffer.concat([binaryHeader, Buffer.from([0, 2, 0, 0, 0, 1, 0x61, 0, 0, 0, 1, 0x62])]);
  const nullField = Buffer.concat([binaryHeader, Buffer.from([0, 1, 0xff, 0xff, 0xff, 0xff])]);
  const tooLong = Buffer.concat([binaryHeader, Buffer.from([0, 1, 0, 0, 0, 9, 0x61])]);
  for (const [format, stream, why] of [
    ["csv", message("d", "no line end"), "a row without line end"],
    ["csv", message("d", ""), "a row of -1 bytes"],
    ["csv", Buffer.from([0x64, 0, 0, 0, 1, 0]), "a message of -3 bytes"],
    ["ndjson", binary("short"), "a message of 5 bytes"],
    ["ndjson", binary("this is no header at all"), "not the header"],
    ["ndjson", binary(Buffer.concat([binaryHeader, Buffer.from([9])])), "a row in 1 bytes"],
    ["ndjson", binary(Buffer.concat([binaryHeader, Buffer.from([0, 1])])), "a row in 2 bytes"],
    ["ndjson", binary(twoFields), "a row of 2 fields"],
    ["ndjson", binary(nullField), "a row of 1 fields, the first of -1 bytes"],
    ["ndjson", binary(tooLong), "the first of 9 bytes, in 7"],
    ["ndjson", binary(binaryHeader), "no end of the rows"],
  ] as const)
    expect(() => decode(format, Buffer.concat([stream, stream]), [], 100), why).toThrow(why);
});

test("a block has at least a byte", () => {
  expect(() => createRowBlocks({ lineEnd: "\n", blockBytes: 0, onBlock: () => {} })).toThrow(RangeError);
});
