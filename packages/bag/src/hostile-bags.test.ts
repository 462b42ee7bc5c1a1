// What somebody can do who has a bag and not the key: everything but sign. Each attempt has to be a fault, also when all
// manifests were made anew, and none may take memory or time that the bag's own size does not explain.
import { execFileSync } from "node:child_process";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  createTestKey,
  editDocument,
  makeBag,
  seal,
  sha256,
  sourceOf,
  type TestBag,
  tarOf,
  writeBag,
} from "../../../tests/bag/test-bag.ts";
import { parseElements } from "./bag-info.ts";
import { type BagReport, openBag, parseManifest, verifyBag } from "./index.ts";
import { parseExportDocument } from "./parse-export-document.ts";
import { paxRecords, tarPadding } from "./tar-header.ts";

const key = createTestKey();
const forger = createTestKey();
const never = new AbortController().signal;
const check = (bag: TestBag): Promise<BagReport> =>
  verifyBag(sourceOf(bag), { keys: [key.public], signal: never });
const codes = ({ faults }: BagReport): string[] => faults.map(({ code }) => code);
const contents = ({ files }: TestBag, path: string): Buffer => {
  const bytes = files.get(path);
  if (bytes === undefined) throw new Error(`the test bag has no ${path}`);
  return bytes;
};
const part = (number: number): string => `data/tables/messages/part-0000${number}.ndjson`;
const tagFiles = [
  "bagit.txt",
  "bag-info.txt",
  "manifest-sha256.txt",
  "export.json",
  "tagmanifest-sha256.txt",
  "export.json.sig",
];

/** An earlier export of the same tenant, of fewer rows, signed by the same key. */
const earlier = (): TestBag => makeBag({ key, bodies: ["a", "b"] });
const later = (): TestBag => makeBag({ key, bodies: ["a", "b", "c", "d"] });

/** The forger's best: manifests and their digests made anew, and the signature of the true key put back. */
function resealed(bag: TestBag): TestBag {
  const signature = contents(bag, "export.json.sig");
  seal(bag, forger);
  bag.files.set("export.json.sig", signature);
  return bag;
}

describe("a bag that was put together from two of the same tenant is told:", () => {
  const mixes = [
    ...tagFiles.map((name) => [name]),
    ["export.json", "export.json.sig"],
    ["manifest-sha256.txt", "tagmanifest-sha256.txt"],
    ["manifest-sha256.txt", "tagmanifest-sha256.txt", "export.json.sig"],
    ["manifest-sha256.txt", "export.json", "tagmanifest-sha256.txt", "export.json.sig"],
    [part(1)],
    [part(1), part(2)],
  ].filter(([name]) => name !== "bagit.txt");

  test.each(mixes)("%j and so on of the earlier one", async (...names) => {
    // Made anew, tag files alone are the later one's again.
    const hasPayload = names.some((name) => name.startsWith("data/"));
    for (const reseal of [(bag: TestBag) => bag, ...(hasPayload ? [resealed] : [])]) {
      const bag = later();
      for (const name of names) bag.files.set(name, contents(earlier(), name));
      expect((await check(reseal(bag))).ok).toBe(false);
    }
  });

  test("an earlier bag in a folder that is named after the later one's export", async () => {
    expect(codes(await check({ ...earlier(), name: `acme-${"ab".repeat(16)}` }))).toEqual(["folder_differs"]);
  });
});

describe("a payload file is only the one that was signed, by its exact name:", () => {
  test.each([
    ["upper case", (path: string) => path.replace("part", "Part")],
    ["a percent sign for a slash", (path: string) => path.replace("messages/", "messages%2F")],
    ["a dot that ends it", (path: string) => `${path}.`],
    ["a space that ends it", (path: string) => `${path} `],
    ["a backslash", (path: string) => path.replace("messages/", "messages\\")],
    ["a letter that looks alike", (path: string) => path.replace("a/t", "\u0430/t")],
    ["another table's folder", (path: string) => path.replace("messages", "users")],
  ])("%s", async (_, rename) => {
    for (const reseal of [(bag: TestBag) => bag, resealed]) {
      const bag = later();
      const bytes = contents(bag, part(1));
      bag.files.delete(part(1));
      bag.files.set(rename(part(1)), bytes);
      const report = await check(reseal(bag));
      expect(codes(report)).toEqual(expect.arrayContaining(["missing_file", "unexpected_file"]));
    }
  });

  test("composed and decomposed names are two", async () => {
    const bag = makeBag({ key });
    const [composed, decomposed] = ["data/files/\u00e9.txt", "data/files/e\u0301.txt"];
    bag.files.set(composed, Buffer.from("x"));
    editDocument(bag, ({ files }) => files?.push({ ...(files[0] as object), ...fileAt(composed) } as never));
    seal(bag, key);
    expect(codes(await check(bag))).toEqual([]);
    bag.files.set(decomposed, contents(bag, composed));
    bag.files.delete(composed);
    expect(codes(await check(bag)).sort()).toEqual(["missing_file", "unexpected_file"]);
  });

  const fileAt = (path: string) => ({
    id: "01940000-0000-7000-8000-00000000ffff",
    path,
    bytes: 1,
    sha256: sha256("x"),
  });
});

describe("export.json says one thing only, whoever signed it:", () => {
  async function said(change: (json: string) => string): Promise<string[]> {
    const bag = later();
    bag.files.set("export.json", Buffer.from(change(String(contents(bag, "export.json")))));
    // Even if it is signed, which only the key can do.
    const signed = { ...bag, files: new Map(bag.files) };
    seal(signed, key);
    expect(codes(await check(resealed(bag)))).toContain("signature_invalid");
    return codes(await check(signed));
  }

  test("a number may be written in any way that JSON has", async () => {
    expect(await said((json) => json.replace('"rows": 4', '"rows": 4e0'))).toEqual([]);
    expect(await said((json) => json.replace('"rows": 4', '"rows": 1e3'))).toEqual(["rows_differ"]);
    for (const number of ["1e400", "-0.5", "9007199254740993", "0x4", "04"])
      expect(await said((json) => json.replace('"rows": 4', `"rows": ${number}`)), number).toContain(
        "document_invalid",
      );
  });

  test("of a field that is there twice the last counts, and is checked", async () => {
    expect(await said((json) => json.replace('"rows": 4', '"rows": 4, "rows": 3'))).toEqual(["rows_differ"]);
    expect(await said((json) => json.replace('"tables": [', '"tables": [], "tables": ['))).toEqual([]);
    expect(
      await said((json) => json.replace('"parts": [', '"__proto__": {"parts": []}, "parts": [')),
    ).toEqual([]);
  });

  test("nesting without end is no document", async () => {
    const deep = "[".repeat(1_000_000);
    expect(await said((json) => json.replace('"withheldTables": []', `"withheldTables": ${deep}`))).toContain(
      "document_invalid",
    );
    expect(
      await said((json) => json.replace("{", `{"other": ${deep}${deep.replaceAll("[", "]")},`)),
    ).not.toContain("signature_missing");
  });
});

describe("files that are made to keep a reader busy are given up:", () => {
  test("bag-info.txt of one value over very many lines", async () => {
    const bag = makeBag({ key });
    bag.files.set("bag-info.txt", Buffer.from(`a: b\n${" x\n".repeat(3_000_000)}`));
    expect((await check(bag)).faults.map(({ message }) => message)).toContain(
      "bag-info.txt: it has 9000005 bytes; at most 1048576 are read.",
    );
    // What is read takes a moment; joined one by one it took minutes.
    const { elements } = parseElements(`a: b\n${" x\n".repeat(340_000)}`);
    expect(elements[0]?.[1]).toHaveLength(1 + 2 * 340_000);
  }, 20_000);

  test("a manifest of very many lines that are none", () => {
    // As a list of its lines it would end the process.
    const { entries, faults } = parseManifest("\n".repeat(135_000_000));
    expect(entries).toEqual([]);
    expect(faults.at(-2)?.message).toBe(
      "Line 1000000 of manifest-sha256.txt is the last that was read: too many have a fault.",
    );
    expect(faults.at(-1)?.message).toBe("999900 more lines of manifest-sha256.txt have a fault.");
  }, 20_000);

  test("export.json of very many lists, but not of many brackets in names", () => {
    const reason = (json: string): string => {
      try {
        parseExportDocument(json);
      } catch (error) {
        return String((error as Error).message);
      }
      return "read";
    };
    const tooMany = /it has more objects and lists than an export of its size\.$/;
    for (const one of ["[],", "{},", '"\\\\",[],', '"\\"",{},'])
      expect(reason(`{"format":"ectus-export","version":1,"x":[${one.repeat(1_500_000)}0]}`)).toMatch(
        tooMany,
      );
    expect(reason(`{"x":${"[".repeat(1_500_000)}`)).toMatch(tooMany);
    const document = JSON.parse(String(contents(makeBag({ key }), "export.json")));
    const [file] = document.files;
    document.files = Array.from({ length: 20_000 }, (_, index) => ({
      ...file,
      id: `01940000-0000-7000-8000-${String(index).padStart(12, "0")}`,
      path: `data/files/${index}`,
      filename: '[{"\\'.repeat(60),
    }));
    expect(reason(JSON.stringify(document))).toBe("read");
  });

  test("zstd with a window or a dictionary that no export has", async () => {
    // RFC 8878, section 3.1.1: a frame's descriptor, then its window of 2^28 bytes or its dictionary; an empty block.
    const frames = {
      "Frame requires too much memory for decoding": Buffer.from("28b52ffd" + "00" + "90" + "010000", "hex"),
      "Dictionary mismatch": Buffer.from("28b52ffd" + "21" + "05" + "00" + "010000", "hex"),
    };
    for (const [why, frame] of Object.entries(frames)) {
      const bag = makeBag({ key, compression: "zstd", bodies: ["a", "b", "c", "d"] });
      bag.files.set(`${part(1)}.zst`, frame);
      const report = await check(resealed(bag));
      expect(codes(report)).toContain("signature_invalid");
      expect(report.faults).toContainEqual({
        code: "part_damaged",
        path: `${part(1)}.zst`,
        message: `${part(1)}.zst: its zstd data are damaged (${why}).`,
      });
    }
  });
});

describe("a tar file cannot show one bag and hold another:", () => {
  let scratch: string;
  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), "ectus-hostile-"));
  });
  afterEach(() => rm(scratch, { recursive: true }));

  /** A tar file by Python, whose entries may say anything; `body` sees the bag's entries as `all`. */
  async function packed(body: string): Promise<string> {
    const bag = later();
    await writeBag(bag, scratch);
    const path = join(scratch, "bag.tar");
    const program = `
import sys, io, os, tarfile
out, base, name = sys.argv[1:]
t = tarfile.open(out, 'w', format=tarfile.PAX_FORMAT)
all = {}
for folder, _, files in os.walk(os.path.join(base, name)):
    for f in sorted(files):
        full = os.path.join(folder, f)
        all[os.path.relpath(full, base)] = open(full, 'rb').read()
def add(path, data, **more):
    info = tarfile.TarInfo(path); info.size = len(data)
    for k, v in more.items(): setattr(info, k, v)
    t.addfile(info, io.BytesIO(data))
part = name + '/${part(1)}'
${body}
t.close()
`;
    execFileSync("python3", ["-c", program, path, scratch, bag.name]);
    return path;
  }

  async function outcome(path: string): Promise<string> {
    try {
      await using source = await openBag(path);
      const report = await verifyBag(source, { keys: [key.public], signal: never });
      return report.ok ? "ok" : codes(report).join(" ");
    } catch (error) {
      expect(error).toMatchObject({ code: "bag_invalid" });
      return String((error as Error).message);
    }
  }

  test("the honest one is whole", async () => {
    expect(await outcome(await packed("for p, d in all.items(): add(p, d)"))).toBe("ok");
  });

  test.each([
    ["a second entry of one name", "for p, d in all.items(): add(p, d)\nadd(part, b'{}\\n')", /twice/],
    [
      "a second entry of one name by another spelling",
      "for p, d in all.items(): add(p, d)\nadd('./' + part, b'{}\\n')",
      /twice/,
    ],
    [
      "a path in a pax header that is another file's",
      "for p, d in all.items(): add(p, d)\nadd(name + '/x', b'{}\\n', pax_headers={'path': part})",
      /twice/,
    ],
    [
      "a path in a pax header that leads elsewhere",
      "for p, d in all.items(): add(p, d)\nadd(name + '/x', b'', pax_headers={'path': name + '/../../x'})",
      /leads elsewhere/,
    ],
    [
      "a length in a pax header that hides what follows",
      "for p, d in all.items(): add(p, d, **({'pax_headers': {'size': '1'}} if p == part else {}))",
      /damaged|missing_file|size_differs/,
    ],
    [
      "a path for all entries",
      "t.pax_headers = {'path': part}\nt.close()\nt = tarfile.open(out, 'w', format=tarfile.PAX_FORMAT, pax_headers={'path': part})\nfor p, d in all.items(): add(p, d)",
      /all its entries alike/,
    ],
    [
      "a sparse file of pax",
      "for p, d in all.items(): add(p, d, **({'pax_headers': {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': p, 'GNU.sparse.realsize': str(len(d))}} if p == part else {}))",
      /links or sparse files/,
    ],
    [
      "a sparse file of GNU",
      "for p, d in all.items(): add(p, d, **({'type': tarfile.GNUTYPE_SPARSE} if p == part else {}))",
      /a sparse file/,
    ],
    [
      "a hard link in place of a part",
      `for p, d in all.items(): add(p, d) if p != part else add(p, b'', type=tarfile.LNKTYPE, linkname=name + '/${part(2)}')`,
      /a hard link/,
    ],
    [
      "a part as a folder",
      "for p, d in all.items(): add(p, d) if p != part else add(p, b'', type=tarfile.DIRTYPE)",
      /missing_file/,
    ],
    [
      "an entry of an unknown kind",
      "for p, d in all.items(): add(p, d)\nadd(name + '/x', b'', type=b'V')",
      /no plain file/,
    ],
    [
      "a name of more than one volume",
      "for p, d in all.items(): add(p, d)\nadd(part, b'{}', type=b'M')",
      /no plain file/,
    ],
  ])("%s", async (_, body, expected) => {
    expect(await outcome(await packed(body))).toMatch(expected);
  });

  test("two pax headers before one entry, and one before none", async () => {
    const whole = tarOf(later());
    const records = paxRecords({ path: `${later().name}/note` });
    const pax = Buffer.concat([records, Buffer.alloc(tarPadding(records.length))]);
    const headerOf = (type: string, bytes: number): Buffer => {
      const header = Buffer.from(whole.subarray(0, 512));
      header.write(bytes.toString(8).padStart(11, "0"), 124, "latin1");
      header.write(type, 156, "latin1");
      header.fill(" ", 148, 156);
      const sum = header.reduce((total, byte) => total + byte, 0);
      header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
      return header;
    };
    const x = Buffer.concat([headerOf("x", records.length), pax]);
    const path = join(scratch, "x.tar");
    await writeFile(path, Buffer.concat([x, x, whole]));
    expect(await outcome(path)).toMatch(/no file bagit\.txt|missing_file/);
    await writeFile(path, Buffer.concat([whole.subarray(0, -1_024), x, Buffer.alloc(1_024)]));
    expect(await outcome(path)).toMatch(/ends where an entry should follow/);
  });

  test("a folder with a name that is not UTF-8, or with what cannot be read", async () => {
    const folder = await writeBag(later(), scratch);
    const name = Buffer.concat([Buffer.from(`${folder}/data/`), Buffer.from([0xff, 0x1b])]);
    await (await open(name, "w")).close();
    expect(await outcome(folder)).toMatch(/data\/\ufffd\\u\{1b\} cannot be read \(ENOENT\)/);
  });
});
