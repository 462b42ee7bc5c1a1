import { randomBytes } from "node:crypto";
import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  awkwardBodies,
  compress,
  createTestKey,
  digestOf,
  editDocument,
  makeBag,
  seal,
  sha256,
  sourceOf,
  type TestBag,
  writeBag,
} from "../../../tests/bag/test-bag.ts";
import { type BagReport, faultCodes, openBag, type VerifyOptions, verifyBag } from "./index.ts";
import { createFaultList } from "./verify/fault-list.ts";

const key = createTestKey();
async function check(
  bag: TestBag,
  options: Partial<VerifyOptions> & { readonly chunkBytes?: number } = {},
): Promise<BagReport> {
  const { chunkBytes, ...others } = options;
  const signal = new AbortController().signal;
  const report = await verifyBag(sourceOf(bag, chunkBytes), { keys: [key.public], signal, ...others });
  expect(report.ok).toBe(report.faults.length === 0);
  return report;
}

function codes({ faults }: BagReport): string[] {
  for (const { code } of faults) expect(Object.keys(faultCodes)).toContain(code);
  return faults.map(({ code }) => code).sort();
}
const messages = ({ faults }: BagReport): string[] => faults.map(({ message }) => message);

const first = (format: string, ending = "") => `data/tables/messages/part-00001.${format}${ending}`;
const second = (format: string, ending = "") => `data/tables/messages/part-00002.${format}${ending}`;

const contents = ({ files }: TestBag, path: string): Buffer => {
  const bytes = files.get(path);
  if (bytes === undefined) throw new Error(`the test bag has no ${path}`);
  return bytes;
};

const flip = (bytes: Buffer, at: number, mask = 1): Buffer => {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ mask;
  return changed;
};

/** Puts other bytes into a part, and makes export.json and all digests fit them, but not rows and row digests. */
function forgePart(bag: TestBag, path: string, bytes: Buffer): void {
  bag.files.set(path, bytes);
  editDocument(bag, ({ tables }) => {
    for (const part of tables.flatMap((table) => table.parts))
      if (part.path === path) Object.assign(part, { bytes: bytes.length, sha256: sha256(bytes) });
  });
  seal(bag, key);
}

describe("a bag as it was made has no fault", () => {
  for (const format of ["ndjson", "csv"] as const)
    test.each(["none", "gzip", "zstd"] as const)(`in ${format}, compression %s`, async (compression) => {
      const bag = makeBag({ format, compression, key });
      const report = await check(bag);
      expect(report.faults).toEqual([]);
      expect(report).toMatchObject({
        ok: true,
        files: 11,
        bytes: [...bag.files.values()].reduce((sum, { length }) => sum + length, 0),
        rows: awkwardBodies.length + 1,
        signature: { state: "valid", kid: key.public.kid },
        document: { tenant: { name: "Acme" } },
      });
    });

  test("with any text in its rows", async () => {
    const text = fc.option(
      fc.string({ unit: fc.constantFrom('"', ",", "\r", "\n", "\\N", "🦦", "a", "{", "}") }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(text, { minLength: 2 }),
        fc.constantFrom("ndjson", "csv"),
        fc.constantFrom("none", "gzip", "zstd"),
        fc.integer({ min: 1, max: 300 }),
        async (bodies, format, compression, chunkBytes) => {
          const bag = makeBag({ bodies, format, compression, key });
          expect(messages(await check(bag, { chunkBytes }))).toEqual([]);
        },
      ),
      { numRuns: 50 },
    );
  });

  test("in a folder of another name, but not of another export's", async () => {
    const bag = makeBag({ key });
    expect(messages(await check({ ...bag, name: "my backup" }))).toEqual([]);
    expect(codes(await check({ ...bag, name: `acme-2026-11-24-${"0".repeat(32)}` }))).toEqual([
      "folder_differs",
    ]);
  });

  test("and its progress goes up to its size", async () => {
    const seen: number[] = [];
    const report = await check(makeBag({ key }), { onProgress: ({ bytesDone }) => seen.push(bytesDone) });
    expect(seen.at(-1)).toBe(report.bytes);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  });
});

describe("a change of the payload is found:", () => {
  test("a part of which a byte was flipped", async () => {
    const bag = makeBag({ key });
    const path = first("ndjson");
    const at = contents(bag, path).indexOf("plain");
    bag.files.set(path, flip(contents(bag, path), at));
    const report = await check(bag);
    expect(codes(report)).toEqual(["digest_differs", "row_digest_differs"]);
    expect(messages(report)).toContainEqual(
      expect.stringMatching(
        /^data\/tables\/messages\/part-00001\.ndjson: its SHA-256 is [0-9a-f]{64}, not the one in manifest-sha256\.txt and export\.json\.$/,
      ),
    );
  });

  test.each(["gzip", "zstd"] as const)(
    "a %s part with other content and a manifest made anew",
    async (compression) => {
      const bag = makeBag({ compression, key });
      const path = first("ndjson", { gzip: ".gz", zstd: ".zst" }[compression]);
      const plain = contents(makeBag({ key }), first("ndjson"));
      bag.files.set(path, compress(flip(plain, plain.indexOf("plain")), compression));
      seal(bag, createTestKey());
      expect(codes(await check(bag))).toEqual(
        expect.arrayContaining(["digest_differs", "row_digest_differs", "signature_unknown_key"]),
      );
    },
  );

  test("a part that was re-made with all digests, by somebody without the key", async () => {
    const bag = makeBag({ key });
    const path = first("ndjson");
    const lines = String(contents(bag, path)).replace("plain", "forged").trimEnd().split("\n");
    bag.files.set(path, Buffer.from(`${lines.join("\n")}\n`));
    const bytes = contents(bag, path);
    editDocument(bag, ({ tables: [messages] }) => {
      if (messages === undefined) return;
      const [one, two] = messages.parts;
      if (one === undefined || two === undefined) return;
      Object.assign(one, { bytes: bytes.length, sha256: sha256(bytes), digest: digestOf(lines) });
      const sum = BigInt(`0x${one.digest}`) + BigInt(`0x${two.digest}`);
      messages.digest = BigInt.asUintN(64, sum).toString(16).padStart(16, "0");
    });
    seal(bag, createTestKey());
    const report = await check(bag);
    expect(codes(report)).toEqual(["signature_unknown_key"]);
    // With no key to check with, it is a whole bag of somebody.
    expect(await check(bag, { keys: [] })).toMatchObject({ ok: true, signature: { state: "unknown_key" } });
  });

  test("two parts that were swapped", async () => {
    const bag = makeBag({ key, bodies: ["a", "b", "c", "d"] });
    const [one, two] = [contents(bag, first("ndjson")), contents(bag, second("ndjson"))];
    bag.files.set(first("ndjson"), two).set(second("ndjson"), one);
    expect(codes(await check(bag))).toEqual([
      "digest_differs",
      "digest_differs",
      "row_digest_differs",
      "row_digest_differs",
    ]);
  });

  test("a line that was removed, with the manifest made anew", async () => {
    const bag = makeBag({ key });
    const lines = String(contents(bag, second("ndjson"))).split("\n");
    bag.files.set(second("ndjson"), Buffer.from(lines.toSpliced(1, 1).join("\n")));
    seal(bag, key);
    const report = await check(bag);
    expect(codes(report)).toEqual(["digest_differs", "rows_differ", "size_differs"]);
    expect(messages(report)).toContain(`${second("ndjson")}: 4 rows where export.json says 5.`);
  });

  test("a line that was doubled in place of another", async () => {
    const bag = makeBag({ key, bodies: ["a", "b", "c", "d"] });
    const [line] = String(contents(bag, first("ndjson"))).split("\n");
    forgePart(bag, first("ndjson"), Buffer.from(`${line}\n${line}\n`));
    expect(codes(await check(bag))).toEqual(["row_digest_differs"]);
  });

  test("a file that was added, or that is missing", async () => {
    const bag = makeBag({ key });
    bag.files.set("data/files/extra.txt", Buffer.from("x"));
    bag.files.delete(second("ndjson"));
    bag.files.set("note.txt", Buffer.from("x"));
    const report = await check(bag);
    expect(messages(report)).toEqual([
      expect.stringMatching(/^bag-info\.txt: its Payload-Oxum is \d+\.5 where the bag has \d+\.5, /),
      "note.txt: tagmanifest-sha256.txt does not list it.",
      `${second("ndjson")}: it is missing; manifest-sha256.txt and export.json list it.`,
      "data/files/extra.txt: manifest-sha256.txt and export.json do not list it.",
    ]);
  });

  test("a file that only the manifest knows", async () => {
    const bag = makeBag({ key });
    bag.files.set("data/files/extra.txt", Buffer.from("x"));
    seal(bag, key);
    expect(messages(await check(bag))).toEqual(["data/files/extra.txt: export.json does not list it."]);
  });

  test("a file of the tenant's that is another", async () => {
    const bag = makeBag({ key });
    const [path = ""] = [...bag.files.keys()].filter((name) => name.startsWith("data/files/"));
    bag.files.set(path, Buffer.from("other text\n\n"));
    seal(bag, key);
    const report = await check(bag);
    expect(codes(report)).toEqual(["digest_differs", "size_differs"]);
    expect(messages(report)[0]).toBe(`${path}: 12 bytes where export.json says 11.`);
  });
});

describe("a part that cannot be read to its end, though all digests fit, is found:", () => {
  const cases = { gzip: { ending: ".gz", pack: gzipSync }, zstd: { ending: ".zst", pack: zstdCompressSync } };
  for (const [compression, { ending, pack }] of Object.entries(cases)) {
    const path = first("ndjson", ending);
    const forged = (change: (bytes: Buffer) => Buffer): Promise<BagReport> => {
      const bag = makeBag({ compression: compression as "gzip" | "zstd", key });
      forgePart(bag, path, change(contents(bag, path)));
      return check(bag);
    };
    const damaged = (what: string) => [`${path}: ${what}.`];

    test(`${compression} that is cut off`, async () => {
      const what = `it ends before its ${compression} data do`;
      expect(messages(await forged((bytes) => bytes.subarray(0, -5)))).toEqual(damaged(what));
      expect(messages(await forged(() => Buffer.alloc(0)))).toEqual(damaged(what));
    });

    test(`${compression} that something follows`, async () => {
      const what = `it goes on after the end of its ${compression} data`;
      expect(messages(await forged((bytes) => Buffer.concat([bytes, Buffer.alloc(10)])))).toEqual(
        damaged(what),
      );
      expect(codes(await forged((bytes) => Buffer.concat([bytes, Buffer.from("xyz")])))).toEqual([
        "part_damaged",
      ]);
      expect(codes(await forged((bytes) => Buffer.concat([bytes, randomBytes(3_000_000)])))).toEqual([
        "part_damaged",
      ]);
    });

    test(`${compression} that more ${compression} follows`, async () => {
      expect(messages(await forged((bytes) => Buffer.concat([bytes, pack('{"id":1}\n')])))).toEqual([
        `${path}: row 6 has the columns id where export.json has id,position,body.`,
        `${path}: 6 rows where export.json says 5.`,
      ]);
    });

    test(`${compression} that is none`, async () => {
      expect(codes(await forged(() => Buffer.from("no such thing at all")))).toEqual(["part_damaged"]);
    });

    test(`${compression} of a row without end, before it fills the memory`, async () => {
      const bag = makeBag({ compression: compression as "gzip" | "zstd", key });
      forgePart(bag, path, pack(Buffer.alloc(50_000_000, "a")));
      expect(messages(await check(bag, { mostRowBytes: 1_000_000 }))).toEqual(
        damaged("row 1 has more than 1,000,000 bytes"),
      );
    });

    test(`${compression} of far too many rows`, async () => {
      const report = await forged(() => pack(Buffer.alloc(20_000_000, "\n")));
      expect(messages(report)).toEqual([
        `${path}: row 1 is not a JSON object.`,
        `${path}: more than 1,000,005 rows where export.json says 5.`,
      ]);
    });
  }

  test("a last line without its end", async () => {
    const bag = makeBag({ key });
    forgePart(bag, first("ndjson"), contents(bag, first("ndjson")).subarray(0, -1));
    expect(messages(await check(bag))).toEqual([`${first("ndjson")}: row 5 has no line end.`]);
  });
});

describe("rows of another form are found:", () => {
  async function withText(format: "ndjson" | "csv", change: (text: string) => string): Promise<string[]> {
    const bag = makeBag({ format, key, bodies: ["a", "b", "c", "d"] });
    const path = first(format);
    forgePart(bag, path, Buffer.from(change(String(contents(bag, path)))));
    return messages(await check(bag)).map((message) => message.replace(`${path}: `, ""));
  }

  test("a header with other columns", async () => {
    expect(await withText("csv", (text) => text.replace("position,body", "body,position"))).toEqual([
      "its header is id,body,position where export.json has the columns id,position,body.",
    ]);
  });

  test("no header", async () => {
    const found = await withText("csv", (text) => text.slice(text.indexOf("\n") + 1));
    expect(found).toEqual([expect.stringContaining("its header is "), "1 row where export.json says 2."]);
    expect(await withText("csv", () => "")).toEqual(["its header is missing."]);
  });

  test("a value too many, or without quotes", async () => {
    expect((await withText("csv", (text) => text.replace('"b"', '"b",')))[0]).toBe(
      "row 2 has 4 values for 3 columns.",
    );
    expect(await withText("csv", (text) => text.replace('"b"', "b"))).toEqual([
      "row 2 has a value that is not in quotes.",
    ]);
  });

  test("columns in another order, or no JSON", async () => {
    expect(
      (await withText("ndjson", (text) => text.replaceAll(/("id":[^,]*),("position":\d)/g, "$2,$1")))[0],
    ).toBe("row 1 has the columns position,id,body where export.json has id,position,body.");
    expect((await withText("ndjson", (text) => text.replaceAll('"body":', '"body"')))[0]).toBe(
      "row 1 is not JSON.",
    );
    expect((await withText("ndjson", (text) => text.replaceAll(/.+/g, "[1]")))[0]).toBe(
      "row 1 is not a JSON object.",
    );
  });
});

describe("what export.json says wrongly is found:", () => {
  async function edited(edit: Parameters<typeof editDocument>[1]): Promise<BagReport> {
    const bag = makeBag({ key });
    editDocument(bag, edit);
    seal(bag, key);
    return check(bag);
  }

  test("totals of a table", async () => {
    const report = await edited(({ tables: [messages] }) => {
      if (messages) messages.rows = 11;
    });
    expect(messages(report)).toEqual([
      "export.json: the parts of the table messages have 10 rows where the table has 11.",
    ]);
    const other = await edited(({ tables: [, users] }) => {
      if (users) users.digest = "00000000000000ff";
    });
    expect(codes(other)).toEqual(["row_digest_differs"]);
  });

  test("a part that it does not list", async () => {
    const report = await edited(({ tables: [messages] }) => {
      messages?.parts.pop();
    });
    expect(messages(report)).toEqual([
      "export.json: the parts of the table messages have 5 rows where the table has 10.",
      `${second("ndjson")}: export.json does not list it.`,
    ]);
  });

  test("a table or files of its scope that it does not have", async () => {
    const report = await edited((document) => {
      document.tables.pop();
      document.scope.tables.push("usage");
    });
    expect(messages(report)).toEqual([
      "export.json: its scope has users, and it does not.",
      "export.json: its scope has usage, and it does not.",
    ]);
  });

  test("that it is no export at all", async () => {
    const report = await edited((document) => {
      document.format = "other";
    });
    expect(messages(report)).toEqual(['export.json: its format is not "ectus-export".']);
    expect(report.document).toBeUndefined();
  });
});

describe("tag files that are wrong are found:", () => {
  test("one that is missing", async () => {
    const names = ["bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt", "export.json"];
    for (const name of names) {
      const bag = makeBag({ key });
      bag.files.delete(name);
      expect(messages(await check(bag))).toContain(`${name}: it is missing.`);
    }
  });

  test("a declaration of another version", async () => {
    const bag = makeBag({ key });
    bag.files.set("bagit.txt", Buffer.from("BagIt-Version: 2.0\nTag-File-Character-Encoding: UTF-16\n"));
    expect(codes(await check(bag))).toEqual(["bagit_invalid", "bagit_invalid", "digest_differs"]);
  });

  test("a manifest with lines that are none", async () => {
    const bag = makeBag({ key });
    bag.files.set("manifest-sha256.txt", Buffer.from("hello\n"));
    const report = await check(bag);
    expect(messages(report)).toContain(
      'manifest-sha256.txt: Line 1 of manifest-sha256.txt: "hello" is not a digest, white space and a path.',
    );
    expect(codes(report).filter((code) => code === "unexpected_file")).toHaveLength(5);
  });

  test("one that is not UTF-8", async () => {
    const bag = makeBag({ key });
    bag.files.set("export.json", Buffer.from([0xff, 0xfe]));
    expect(messages(await check(bag))).toContain("export.json: it is not UTF-8.");
  });
});

describe("a signature counts only if it is", () => {
  test("there", async () => {
    const bag = makeBag({ key });
    bag.files.delete("export.json.sig");
    const report = await check(bag);
    expect(codes(report)).toEqual(["signature_missing"]);
    expect(report.signature.state).toBe("missing");
  });

  test("by a key that is trusted", async () => {
    const bag = makeBag({ key: createTestKey() });
    const report = await check(bag);
    expect(codes(report)).toEqual(["signature_unknown_key"]);
    expect(report.signature.state).toBe("unknown_key");
  });

  test("of this bag", async () => {
    const bag = makeBag({ key });
    bag.files.set("export.json.sig", contents(makeBag({ key, bodies: ["x", "y"] }), "export.json.sig"));
    const report = await check(bag);
    expect(codes(report)).toEqual(["signature_invalid"]);
    expect(report.signature.state).toBe("invalid");
  });

  test("made by the key that it names", async () => {
    const bag = makeBag({ key });
    const signed = JSON.parse(String(contents(bag, "export.json.sig")));
    const { kid, x } = createTestKey().public;
    bag.files.set("export.json.sig", Buffer.from(JSON.stringify({ ...signed, kid, x })));
    expect(codes(await check(bag))).toEqual(["signature_invalid"]);
  });
});

test("any flipped bit of any file is found, but in the white space that ends the signature's JSON", async () => {
  for (const [format, compression] of [
    ["ndjson", "zstd"],
    ["csv", "gzip"],
    ["csv", "none"],
  ] as const) {
    const bag = makeBag({ format, compression, key });
    const places = [...bag.files].filter(([, { length }]) => length > 0);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...places),
        fc.nat(),
        fc.nat({ max: 7 }),
        async ([path, bytes], at, bit) => {
          const changed = flip(bytes, at % bytes.length, 1 << bit);
          // JSON may end with any white space; a flipped line feed can only become a few of those.
          fc.pre(path !== "export.json.sig" || String(changed).trim() !== String(bytes).trim());
          const files = new Map(bag.files).set(path, changed);
          // Not a bag at all is an answer as well.
          expect((await check({ ...bag, files })).ok).toBe(false);
        },
      ),
      { numRuns: 150 },
    );
  }
});

test("a file that ends early while it is read is found, and so is one that cannot be opened", async () => {
  const base = await mkdtemp(join(tmpdir(), "ectus-verify-"));
  try {
    const path = await writeBag(makeBag({ key }), base);
    await using source = await openBag(path);
    await truncate(join(path, first("ndjson")), 10);
    await rm(join(path, second("ndjson")));
    const report = await verifyBag(source, { keys: [key.public], signal: new AbortController().signal });
    expect(codes(report)).toEqual(["file_unreadable", "file_unreadable"]);
    expect(messages(report)).toContainEqual(
      expect.stringMatching(/part-00001\.ndjson: it has 10 bytes and had \d+ just before\.$/),
    );
  } finally {
    await rm(base, { recursive: true, force: true });
  }
});

test("an abort ends it, also within one chunk that becomes very long", async () => {
  const bag = makeBag({ compression: "zstd", key });
  forgePart(bag, first("ndjson", ".zst"), zstdCompressSync(Buffer.alloc(400_000_000, "\n")));
  const stop = new AbortController();
  const reason = new Error("enough");
  const run = check(bag, {
    signal: stop.signal,
    onProgress: ({ bytesDone }) => {
      if (bytesDone > 5_000) stop.abort(reason);
    },
  });
  await expect(run).rejects.toBe(reason);
  await expect(check(bag, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

test("of very many faults a hundred are told, then how many more there are", async () => {
  const bag = makeBag({ key });
  for (let index = 0; index < 150; index++) bag.files.set(`data/files/x${index}`, Buffer.alloc(0));
  const { faults } = await check(bag);
  expect(faults).toHaveLength(101);
  expect(faults.at(-1)).toEqual({ code: "more_faults", message: "There are 51 more faults." });
});

test("messages show no control characters of file names", () => {
  const faults = createFaultList();
  faults.add("unexpected_file", "data/\u001b[2J\u202e\n", "it is odd");
  expect(faults.list()[0]?.message).toBe("data/\\u{1b}[2J\\u{202e}\\u{a}: it is odd.");
});
