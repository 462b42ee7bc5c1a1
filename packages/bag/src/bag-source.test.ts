import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTestKey, makeBag, tarOf, writeBag } from "../../../tests/bag/test-bag.ts";
import { layOutTar, openBag, verifyBag } from "./index.ts";

const key = createTestKey();
const bag = makeBag({ compression: "zstd", key });

let base: string;
let folder: string;
let scratch: string;

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), "ectus-bag-source-"));
  folder = await writeBag(bag, base);
});
afterAll(async () => {
  await rm(base, { recursive: true, force: true });
});
beforeEach(async () => {
  scratch = await mkdtemp(join(base, "scratch-"));
});

async function written(bytes: Uint8Array): Promise<string> {
  const path = join(scratch, "bag.tar");
  await writeFile(path, bytes);
  return path;
}

/** Packs with GNU tar, below the folder that has the bag's. */
async function packed(...options: string[]): Promise<string> {
  const path = join(scratch, "packed.tar");
  execFileSync("tar", ["-cf", path, "-C", base, ...options], { stdio: ["ignore", "ignore", "pipe"] });
  return path;
}

async function expectWhole(path: string): Promise<void> {
  await using source = await openBag(path);
  expect(source.name).toBe(bag.name);
  expect([...source.entries.keys()].sort()).toEqual([...bag.files.keys()].sort());
  for (const [name, bytes] of bag.files) {
    expect(source.entries.get(name)?.bytes).toBe(bytes.length);
    expect((await buffer(await source.read(name))).equals(bytes), name).toBe(true);
  }
  const report = await verifyBag(source, { keys: [key.public], signal: new AbortController().signal });
  expect(report.faults).toEqual([]);
}

const refusal = (path: string): Promise<string> =>
  openBag(path).then(
    async (source) => {
      await source.close();
      return "opened";
    },
    (error: unknown) => {
      expect(error).toMatchObject({ code: "bag_invalid" });
      return String((error as Error).message).replace(/^This is not a whole and unchanged export: /, "");
    },
  );

describe("a bag is read from", () => {
  test("its folder", async () => {
    await expectWhole(folder);
    await expectWhole(`${folder}/`);
  });

  test("a tar file as it was downloaded", async () => {
    await expectWhole(await written(tarOf(bag)));
  });

  test.each(["gnu", "posix", "ustar"])(
    "a tar file that somebody packed as %s, in any order",
    async (format) => {
      await expectWhole(await packed(`--format=${format}`, "--sort=name", bag.name));
      const names = [...bag.files.keys()].map((name) => `${bag.name}/${name}`).reverse();
      await expectWhole(await packed(`--format=${format}`, ...names));
      await expectWhole(await packed(`--format=${format}`, `./${bag.name}`));
    },
  );

  test("a tar file that Python packed", async () => {
    const path = join(scratch, "python.tar");
    const program =
      "import sys, tarfile; t = tarfile.open(sys.argv[1], 'w'); t.add(sys.argv[2], arcname=sys.argv[3]); t.close()";
    execFileSync("python3", ["-c", program, path, folder, bag.name]);
    await expectWhole(path);
  });

  test.each(["gnu", "posix"])("a tar file with long and odd names, as %s", async (format) => {
    const odd = { name: "b", files: new Map([["bagit.txt", Buffer.from("x")]]) };
    const names = [
      "n".repeat(150),
      `${"d".repeat(120)}/${"e".repeat(120)}/f`,
      "Zoë 🦦",
      "line\nbreak",
      "a\\b",
    ];
    for (const name of names) odd.files.set(`data/${name}`, Buffer.from(name));
    await writeBag(odd, scratch);
    const path = join(scratch, "odd.tar");
    execFileSync("tar", ["-cf", path, `--format=${format}`, "-C", scratch, "b"]);
    await using source = await openBag(path);
    for (const name of names) expect(String(await buffer(await source.read(`data/${name}`)))).toBe(name);
  });

  test("a tar file with a file of more than 8 GiB, whose length is in a pax header or in GNU's form", async () => {
    for (const format of ["gnu", "posix"]) {
      const large = join(scratch, `large-${format}`);
      await mkdir(join(large, "b"), { recursive: true });
      await writeFile(join(large, "b", "bagit.txt"), "x");
      const bytes = 8 * 1024 ** 3 + 5;
      const path = join(scratch, `${format}.tar`);
      // The header is by GNU tar; its contents are a hole.
      execFileSync("sh", [
        "-c",
        `truncate -s ${bytes} "$1/b/file" && tar --format=${format} -cf - -C "$1" b/file | head -c 2048 > "$2" && rm "$1/b/file"`,
        "sh",
        large,
        path,
      ]);
      const head = await readFile(path);
      const contents = format === "gnu" ? 512 : head.subarray(0, 2048).indexOf("b/file", 512) + 512;
      const rest = execFileSync("tar", [`--format=${format}`, "-cf", "-", "-C", large, "b/bagit.txt"]);
      const handle = await open(path, "r+");
      try {
        await handle.truncate(contents);
        await handle.write(rest, 0, rest.length, contents + bytes + 507);
      } finally {
        await handle.close();
      }
      await using source = await openBag(path);
      expect(source.entries.get("file")?.bytes).toBe(bytes);
      expect(String(await buffer(await source.read("bagit.txt")))).toBe("x");
    }
  });
});

test("a read of a tar file that is given up leaves the others as they are", async () => {
  await using source = await openBag(await written(tarOf(bag)));
  for (const [name, bytes] of bag.files) {
    const left = await source.read(name);
    left.read(0);
    left.destroy();
    await once(left, "close");
    expect((await buffer(await source.read(name))).equals(bytes), name).toBe(true);
  }
});

describe("what is no bag is refused:", () => {
  test("nothing, an empty file, a folder or file of something else", async () => {
    expect(await refusal(join(scratch, "none"))).toMatch(/^there is nothing at .*\/none\.$/);
    expect(await refusal(await written(Buffer.alloc(0)))).toBe("the file is shorter than a tar file can be.");
    expect(await refusal(scratch)).toMatch(/has no file bagit\.txt, so it is not a bag\.$/);
    expect(await refusal(await written(Buffer.alloc(5_000, "text")))).toBe("the file is not a tar file.");
    expect(await refusal(await written(Buffer.alloc(2_048)))).toBe("the tar file is empty.");
    expect(
      await refusal(await written(gzipSync(Buffer.concat(Array(9).fill(tarOf(bag)))).subarray(0, 2_000))),
    ).toBe("the file is compressed; unpack it first.");
  });

  test("a tar file without the bag's folder, with more than it, or with another's", async () => {
    expect(await refusal(await packed("-C", folder, "."))).toMatch(/has no folder around its files/);
    await writeFile(join(base, "note.txt"), "x");
    expect(await refusal(await packed(bag.name, "note.txt"))).toMatch(
      /more than the folder of a bag: .* note\.txt\.$/,
    );
    expect(await refusal(await packed(`${bag.name}/data`))).toMatch(/has no file bagit\.txt/);
  });

  test("links, in a folder and in a tar file", async () => {
    await writeBag(bag, scratch);
    const link = join(scratch, bag.name, "data", "link");
    await symlink("/etc/passwd", link);
    const path = join(scratch, "bag.tar");
    execFileSync("tar", ["-cf", path, "-C", scratch, bag.name]);
    expect(await refusal(join(scratch, bag.name))).toBe(
      "data/link is a symbolic link; a bag has plain files only.",
    );
    expect(await refusal(path)).toMatch(/data\/link is a symbolic link in the tar file/);
    await rm(link);
    execFileSync("ln", [join(scratch, bag.name, "bagit.txt"), link]);
    execFileSync("tar", ["-cf", path, "-C", scratch, bag.name]);
    expect(await refusal(path)).toMatch(/ is a hard link in the tar file/);
    await rm(link);
    execFileSync("mkfifo", [link]);
    execFileSync("tar", ["-cf", path, "-C", scratch, bag.name]);
    expect(await refusal(join(scratch, bag.name))).toMatch(/^data\/link is no plain file/);
    expect(await refusal(path)).toMatch(/ is a pipe in the tar file/);
  });

  test.each(["/etc/passwd", "../up", `${bag.name}/../../up`, `${bag.name}//x`, "\u001b[2J/../x"])(
    "the path %j in a tar file",
    async (name) => {
      const path = join(scratch, "bag.tar");
      const program =
        "import sys, io, tarfile; t = tarfile.open(sys.argv[1], 'w'); t.addfile(tarfile.TarInfo(sys.argv[2]), io.BytesIO())";
      execFileSync("python3", ["-c", program, path, name]);
      const found = await refusal(path);
      expect(found).toMatch(/is absolute or leads elsewhere\.$/);
      expect(found).not.toContain("\u001b");
    },
  );

  test("a file that is in the tar file twice", async () => {
    execFileSync("tar", ["-cf", join(scratch, "t.tar"), "-C", base, bag.name]);
    execFileSync("tar", ["-rf", join(scratch, "t.tar"), "-C", base, `${bag.name}/bagit.txt`]);
    expect(await refusal(join(scratch, "t.tar"))).toMatch("twice");
  });

  test("a tar file that was cut off anywhere", async () => {
    const whole = tarOf(bag);
    for (let bytes = 512; bytes < whole.length; bytes += bytes % 512 === 0 ? 100 : 412)
      expect(await refusal(await written(whole.subarray(0, bytes))), String(bytes)).toMatch(
        /^the tar file was cut off/,
      );
  });

  test("a tar file that goes on after its end", async () => {
    const whole = tarOf(bag);
    expect(await refusal(await written(Buffer.concat([whole, Buffer.alloc(300_000)])))).toBe("opened");
    expect(
      await refusal(await written(Buffer.concat([whole, Buffer.alloc(300_000), Buffer.from("x")]))),
    ).toMatch(/^the tar file goes on after its end mark/);
  });
});

describe("a damaged tar file", () => {
  const whole = tarOf(bag);

  /** Writes into the header of the first file and gives it the right checksum. */
  async function withHeader(at: number, text: string | Buffer): Promise<string> {
    const bytes = Buffer.from(whole);
    Buffer.from(text).copy(bytes, at);
    bytes.fill(" ", 148, 156);
    const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    return refusal(await written(bytes));
  }

  test("with a length that is none, or beyond the file, is refused", async () => {
    const damaged = /damaged at byte 0: a header has no sane length/;
    expect(await withHeader(124, "hello world")).toMatch(damaged);
    expect(await withHeader(124, "-0000000001")).toMatch(damaged);
    expect(await withHeader(124, Buffer.alloc(12, 0xff))).toMatch(damaged);
    expect(await withHeader(124, Buffer.from("80ffffffffffffffffffffff", "hex"))).toMatch(damaged);
    expect(await withHeader(124, "77777777777")).toMatch(/^the tar file was cut off: it has \d+ bytes, and /);
    expect(await withHeader(156, "3")).toMatch(/is a device in the tar file/);
    expect(await withHeader(156, "5")).toMatch(/has contents in the tar file/);
    expect(await withHeader(0, Buffer.from([0xff, 0xfe]))).toMatch(/is not UTF-8/);
  });

  test("is not one in which GNU tar wrote times where ustar has a prefix", async () => {
    const field = Buffer.from(whole.subarray(257, 369));
    field.write("ustar  \0", 0, "latin1");
    field.write("15105731237\u000015105731237\0", 345 - 257, "latin1");
    expect(await withHeader(257, field)).toBe("opened");
  });

  test("with a pax header that makes no sense is refused", async () => {
    const withPax = async (records: string): Promise<string> => {
      const head = layOutTar([{ path: `b/${"é".repeat(4)}`, bytes: 0 }], { modifiedAt: new Date(0) });
      const [piece] = head.pieces(0, head.bytes - 1);
      if (piece?.kind !== "bytes") throw new Error("no header");
      const bytes = Buffer.from(piece.bytes);
      const length = Number.parseInt(bytes.toString("latin1", 124, 135), 8);
      bytes.write(records.padEnd(length, "x").slice(0, length), 512, "latin1");
      return refusal(await written(bytes));
    };
    for (const records of ["hello", "99 path=a\n", "0 path=a\n", "9 path=a\n\n", " path=a\n"])
      expect(await withPax(records)).toMatch(/a pax header that cannot be read/);
    expect(await withPax("17 linkpath=abcd\n")).toMatch(/links or sparse files/);
    expect(await withPax("18 size=-00000001\n")).toMatch(/a length that is none/);
  });

  test("never leads to anything but a refusal or a fault, whichever byte was changed", async () => {
    const report = async (at: number, mask: number): Promise<boolean> => {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ mask;
      const path = await written(bytes);
      if ((await refusal(path)) !== "opened") return false;
      await using source = await openBag(path);
      return (await verifyBag(source, { keys: [key.public], signal: new AbortController().signal })).ok;
    };
    // What says nothing: zeros that fill blocks, and the white space that ends the signature's JSON.
    const padding = new Set<number>();
    let offset = 0;
    for (const [path, { length }] of bag.files) {
      offset += 512 + length;
      if (path === "export.json.sig") padding.add(offset - 1);
      for (; offset % 512 !== 0; offset++) padding.add(offset);
    }
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: whole.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, mask) => {
          fc.pre(!padding.has(at));
          expect(await report(at, mask)).toBe(false);
        },
      ),
      { numRuns: 60 },
    );
  });
});
