import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { layOutTar, type TarEntry, type TarLayout } from "./index.ts";

interface Entry extends TarEntry {
  readonly contents: Buffer;
}

const modifiedAt = new Date("2026-11-24T22:31:05.700Z");

let base: string;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), "ectus-tar-"));
});
afterAll(async () => {
  await rm(base, { recursive: true, force: true });
});

const entry = (path: string, bytes: number | Buffer): Entry => {
  const contents = typeof bytes === "number" ? randomBytes(bytes) : bytes;
  return { path, bytes: contents.length, contents };
};

function* bytesOf({ pieces }: TarLayout<Entry>, start: number, end: number): Generator<Buffer> {
  for (const piece of pieces(start, end))
    yield piece.kind === "bytes" ? piece.bytes : piece.entry.contents.subarray(piece.start, piece.end + 1);
}

const range = (layout: TarLayout<Entry>, start = 0, end = layout.bytes - 1): Buffer =>
  Buffer.concat([...bytesOf(layout, start, end)]);

const folder = "acme-2026-11-24";
const long = `${folder}/${"long-name-".repeat(9)}.txt`;
const various: readonly Entry[] = [
  entry(`${folder}/empty`, 0),
  ...[1, 511, 512, 513, 70_000].map((bytes) => entry(`${folder}/data/${bytes}`, bytes)),
  // As much as name and prefix hold, and a byte more.
  entry("o".repeat(100), 2),
  entry("q".repeat(101), 2),
  entry(`${"r".repeat(156)}/s`, 2),
  entry(`${"p".repeat(155)}/${"n".repeat(100)}`, 3),
  entry(`${"p".repeat(155)}/${"m".repeat(101)}`, 3),
  entry(long, 5),
  entry(`${folder}/${"x/".repeat(120)}end`, 6),
  entry(`${folder}/Zoë 🦦 漢字.txt`, 7),
  entry(`${folder}/line\nbreak`, 8),
  entry(`${folder}/${"é".repeat(100)}`, 9),
];

describe("a tar file is one that others read:", () => {
  let path: string;
  beforeAll(async () => {
    path = join(base, "various.tar");
    const layout = layOutTar(various, { modifiedAt });
    await pipeline(Readable.from(bytesOf(layout, 0, layout.bytes - 1)), createWriteStream(path));
  });

  test("GNU tar lists it with the attributes that were meant, and extracts it byte for byte", async () => {
    const target = join(base, "extracted");
    await mkdir(target);
    execFileSync("tar", ["-xf", path, "-C", target]);
    for (const { path, contents } of various)
      expect((await readFile(join(target, path))).equals(contents), path).toBe(true);
    const [first] = execFileSync("tar", ["-tvf", path, "--numeric-owner", "--full-time", "--utc"], {
      encoding: "utf8",
    }).split("\n");
    expect(first).toMatch(/^-rw-r--r-- 0\/0 +0 2026-11-24 22:31:05 acme-2026-11-24\/empty$/);
  });

  test("Python's tarfile reads the same", () => {
    const program = `
import hashlib, json, sys, tarfile
with tarfile.open(sys.argv[1], errorlevel=2) as tar:
    print(json.dumps([[m.name, m.size, m.mode, m.uid, m.uname, m.mtime, m.isreg(),
                       hashlib.sha256(tar.extractfile(m).read()).hexdigest()] for m in tar.getmembers()]))`;
    const seen: unknown = JSON.parse(execFileSync("python3", ["-c", program, path], { encoding: "utf8" }));
    const seconds = Math.floor(modifiedAt.getTime() / 1_000);
    expect(seen).toEqual(
      various.map(({ path, bytes, contents }) => [
        path,
        bytes,
        0o644,
        0,
        "",
        seconds,
        true,
        createHash("sha256").update(contents).digest("hex"),
      ]),
    );
  });
});

describe("any range is what the whole has there", () => {
  const layout = layOutTar(various, { modifiedAt });
  const whole = range(layout);

  test("cut anywhere, the ranges together are the whole", () => {
    expect(whole.length).toBe(layout.bytes);
    fc.assert(
      fc.property(fc.array(fc.nat({ max: layout.bytes - 1 }), { maxLength: 30 }), (cuts) => {
        const starts = [...new Set([0, ...cuts])].sort((a, b) => a - b);
        const parts = starts.map((start, index) =>
          range(layout, start, (starts[index + 1] ?? layout.bytes) - 1),
        );
        expect(Buffer.concat(parts).equals(whole)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test("also with files of any number and length", () => {
    const lengths = fc.array(fc.oneof(fc.constantFrom(0, 1, 511, 512, 513), fc.nat({ max: 3_000 })));
    fc.assert(
      fc.property(lengths, fc.double({ min: 0, max: 1, noNaN: true }), (lengths, where) => {
        const layout = layOutTar(
          lengths.map((bytes, index) => entry(`bag/${index % 3 === 0 ? "é" : "e"}${index}`, bytes)),
          { modifiedAt },
        );
        const cut = Math.floor(where * (layout.bytes - 1));
        const whole = range(layout);
        expect(whole.length).toBe(layout.bytes);
        expect(range(layout, cut).equals(whole.subarray(cut))).toBe(true);
        expect(range(layout, 0, cut).equals(whole.subarray(0, cut + 1))).toBe(true);
      }),
    );
  });

  test("every single byte, around all borders", () => {
    for (let at = 0; at < layout.bytes; at += at % 512 > 1 && at % 512 < 510 ? 100 : 1)
      expect(range(layout, at, at)[0]).toBe(whole[at]);
  });

  test("a range that is none is refused", () => {
    for (const [start, end] of [
      [-1, 5],
      [5, 4],
      [0, layout.bytes],
      [0.5, 2],
      [0, Number.NaN],
    ] as const)
      expect(() => layout.pieces(start, end)).toThrow(RangeError);
  });
});

test("a file of 9 GiB has its length in a pax header, and what follows is where it should be", () => {
  const bytes = 9 * 1024 ** 3;
  const layout = layOutTar(
    [
      { path: "bag/large", bytes },
      { path: "bag/small", bytes: 3 },
    ],
    { modifiedAt },
  );
  // Headers of two blocks and the pax records; then one; then the end mark.
  expect(layout.bytes).toBe(3 * 512 + bytes + 512 + 512 + 1024);
  const [head, large, small] = [...layout.pieces(0, layout.bytes - 1)];
  expect(head?.kind === "bytes" && head.bytes.toString("latin1", 512, 530)).toBe("19 size=9663676416");
  expect(large).toMatchObject({ kind: "contents", start: 0, end: bytes - 1 });
  expect(small?.kind).toBe("bytes");
  const [middle] = [...layout.pieces(1536 + 8 * 1024 ** 3, 1536 + 8 * 1024 ** 3 + 99)];
  expect(middle).toMatchObject({ kind: "contents", start: 8 * 1024 ** 3, end: 8 * 1024 ** 3 + 99 });
});

test("a path of 256 characters needs no pax header if a slash divides it well, and one that is not ASCII does", () => {
  const bytes = (path: string): number => layOutTar([{ path, bytes: 1 }], { modifiedAt }).bytes;
  const least = 512 + 512 + 1024;
  expect(bytes(`${"p".repeat(155)}/${"n".repeat(100)}`)).toBe(least);
  expect(bytes(`${"p".repeat(156)}/n`)).toBe(least + 1024);
  expect(bytes("é")).toBe(least + 1024);
});

test("the same entries and date give the same bytes, another date others", () => {
  const again = range(layOutTar(various, { modifiedAt: new Date(modifiedAt.getTime() - 500) }));
  expect(range(layOutTar(various, { modifiedAt })).equals(again)).toBe(true);
  expect(range(layOutTar(various, { modifiedAt: new Date(0) })).equals(again)).toBe(false);
});

test("a path that ends with a slash is a folder, also a long one", async () => {
  const folders = [`${folder}/data/`, `${folder}/${"x/".repeat(150)}`, `${folder}/é/`];
  const layout = layOutTar([entry(`${folder}/a`, 1), ...folders.map((path) => entry(path, 0))], {
    modifiedAt,
  });
  const path = join(base, "folders.tar");
  await writeFile(path, range(layout));
  const [file, ...others] = execFileSync("tar", ["-tvf", path, "--quoting-style=literal"], {
    encoding: "utf8",
  })
    .trim()
    .split("\n");
  expect(file).toMatch(/^-rw-r--r--/);
  expect(others.map((line) => [line.slice(0, 10), line.slice(line.indexOf(folder))])).toEqual(
    folders.map((name) => ["drwxr-xr-x", name]),
  );
  expect(() => layOutTar([entry("a", 1), entry("a/", 0)], { modifiedAt })).toThrow(RangeError);
});

test("no files give an end mark alone", () => {
  expect(range(layOutTar([], { modifiedAt }))).toEqual(Buffer.alloc(1024));
});

test("a hundred thousand files are laid out and cut fast, and few bytes come in few pieces", () => {
  const entries = Array.from({ length: 100_000 }, (_, index) => entry(`bag/data/files/${index}`, 0));
  const started = performance.now();
  const layout = layOutTar(entries, { modifiedAt });
  for (let index = 0; index < 1_000; index++) range(layout, index * 51_000, index * 51_000 + 99);
  // Some 200 ms; found one after the other it would be a minute.
  expect(performance.now() - started).toBeLessThan(5_000);
  expect([...layout.pieces(0, 10_000_000)].length).toBeLessThan(200);
});

test.each(["", "/etc/passwd", "a/../b", "a//b", "./a", "a/", "a//", "/", "nul\0", "half\ud83d"])(
  "the path %j is refused",
  (path) => {
    expect(() => layOutTar([{ path, bytes: 1 }], { modifiedAt })).toThrow(RangeError);
  },
);

test("a path that is there twice, a length or a date that cannot be is refused", () => {
  const one = { path: "bag/a", bytes: 1 };
  expect(() => layOutTar([one, one], { modifiedAt })).toThrow(RangeError);
  for (const bytes of [-1, 0.5, Number.NaN, 2 ** 53])
    expect(() => layOutTar([{ path: "bag/a", bytes }], { modifiedAt })).toThrow(RangeError);
  expect(() => layOutTar([one], { modifiedAt: new Date(Number.NaN) })).toThrow(RangeError);
  expect(() => layOutTar([one], { modifiedAt: new Date(-1_000) })).toThrow(RangeError);
});
