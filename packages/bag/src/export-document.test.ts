import { EctusError } from "@ectus/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ExportDocument, ExportedFile } from "./export-document.ts";
import { parseExportDocument } from "./parse-export-document.ts";
import { type ExportHead, renderExportDocument } from "./render-export-document.ts";
import { exampleFile, exampleHead } from "./testing/example-document.ts";

const files = [exampleFile(1), exampleFile(2)];
const document: ExportDocument = { ...exampleHead, files };

async function render(head: ExportHead, of: readonly ExportedFile[] | null): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of renderExportDocument(head, of && streamOf(of))) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function* streamOf<T>(all: Iterable<T>): AsyncGenerator<T> {
  yield* all;
}

describe("what is written", () => {
  test("is readable: an indented head, then a line a file", async () => {
    const text = await render(exampleHead, files);
    expect(text).toMatch(/^\{\n {2}"format": "ectus-export",\n {2}"version": 1,\n {2}"id": "/);
    const lines = files.map((file) => `    ${JSON.stringify(file)}`).join(",\n");
    expect(text.endsWith(`,\n  "files": [\n${lines}\n  ]\n}\n`)).toBe(true);
    expect(JSON.parse(text).digestDescription).toContain("hashtextextended");
  });

  test("comes back as it was, with files, without any, and with none asked for", async () => {
    for (const of of [files, [], null]) {
      expect(parseExportDocument(await render(exampleHead, of))).toEqual({ ...exampleHead, files: of });
    }
    const scope = {
      ...exampleHead.scope,
      from: "2026-01-01T00:00:00Z",
      to: "2026-02-01T00:00:00+01:00",
      subject: "u",
    };
    for (const head of [
      { ...exampleHead, scope },
      { ...exampleHead, auditLog: null },
    ])
      expect(parseExportDocument(Buffer.from(await render(head, null)))).toEqual({ ...head, files: null });
  });

  test("has one order, whatever order its fields came in", async () => {
    expect(await render(reversed(exampleHead), files.map(reversed))).toBe(await render(exampleHead, files));
  });

  test("of a hundred thousand files is a stream of small pieces", async () => {
    let most = 0;
    let bytes = 0;
    const many = streamOf(Array.from({ length: 100_000 }, (_, index) => exampleFile(index)));
    for await (const chunk of renderExportDocument(exampleHead, many)) {
      most = Math.max(most, chunk.length);
      bytes += chunk.length;
    }
    expect(most).toBeLessThan(70_000);
    expect(bytes).toBeGreaterThan(10_000_000);
  });

  test("has any name, and refuses what is no text", async () => {
    const named = fc.string({ unit: "binary" }).filter((name) => !name.includes("\0"));
    await fc.assert(
      fc.asyncProperty(named, async (filename) => {
        const file = { ...exampleFile(1), filename };
        if (filename.isWellFormed())
          expect(parseExportDocument(await render(exampleHead, [file])).files).toEqual([file]);
        else await expect(render(exampleHead, [file])).rejects.toMatchObject({ code: "export_incomplete" });
      }),
    );
    const half = { ...exampleFile(1), filename: "\ud800" };
    await expect(render(exampleHead, [half])).rejects.toMatchObject({ code: "export_incomplete" });
  });

  test("ends with the fault of the list of files", async () => {
    const failing = async function* (): AsyncGenerator<ExportedFile> {
      yield exampleFile(1);
      throw new Error("the database went away");
    };
    const reading = Array.fromAsync(renderExportDocument(exampleHead, failing()));
    await expect(reading).rejects.toThrow("the database went away");
  });
});

describe("what is read", () => {
  /** A field of the document replaced, by its path; undefined leaves it out. */
  const changed = (path: string, value: unknown): string => {
    const copy = structuredClone(document) as unknown as Record<string, unknown>;
    const names = path.split(".");
    const last = names.pop() ?? "";
    let at: Record<string, unknown> = copy;
    for (const name of names) at = at[name] as Record<string, unknown>;
    at[last] = value;
    return JSON.stringify(copy);
  };
  const faultOf = (json: string | Uint8Array): string => {
    try {
      parseExportDocument(json);
    } catch (error) {
      expect(error).toBeInstanceOf(EctusError);
      expect(error).toMatchObject({ code: "bag_invalid" });
      return String((error as EctusError).details.reason);
    }
    return "nothing was thrown";
  };
  const sha256 = "ab".repeat(32);

  test.each<[string, string | Uint8Array, string]>([
    ["nothing", "", "it is not JSON"],
    ["no JSON", "{]", "it is not JSON"],
    ["deep nesting", "[".repeat(1_000_000), "it is not JSON"],
    ["deep nesting that ends", "[".repeat(100_000) + "]".repeat(100_000), "it is a list, not an object"],
    ["no UTF-8", Buffer.from([0x7b, 0xff, 0x7d]), "it is not UTF-8"],
    ["a byte order mark", "\ufeff{}", "it begins with a byte order mark"],
    ["a byte order mark in bytes", Buffer.from("\ufeff{}"), "it begins with a byte order mark"],
    ["null", "null", "it is null, not an object"],
    ["another format", changed("format", "zip"), 'its format is not "ectus-export"'],
    [
      "a newer version",
      changed("version", 2),
      "its version is 2: it was made by a newer version of this program",
    ],
    ["an older version", changed("version", 0), "its version is 0, not 1"],
    ["a text as version", changed("version", "1"), 'version is "1", not a whole number'],
  ])("%s is refused", (_, json, reason) => {
    expect(faultOf(json)).toMatch(/^export\.json: .*\.$/);
    expect(faultOf(json)).toContain(reason);
  });

  test.each<[string, unknown, string]>([
    ["id", "019AA64C-3B2E-7F0E-8A4D-9C5B6F1E2D3C", "id is"],
    ["tenant", [], "tenant is a list, not an object"],
    ["tenant.name", undefined, "tenant.name is missing, not a text"],
    ["tenant.name", "x\ud800", "tenant.name has half of a surrogate pair"],
    ["tenant.name", "x\0", "tenant.name has the character U+0000"],
    ["tenant.name", "x".repeat(100_001), "tenant.name has more than 100000 characters"],
    ["snapshotAt", "yesterday", 'snapshotAt is "yesterday", not a time'],
    ["snapshotAt", "2026-13-40T00:00:00Z", 'snapshotAt is "2026-13-40T00:00:00Z", not a time'],
    ["schemaVersion", 1.5, "schemaVersion is 1.5, not a whole number"],
    ["rowFormat", "xml", 'rowFormat is "xml", not ndjson or csv'],
    ["compression", "__proto__", 'compression is "__proto__", not none or gzip or zstd'],
    ["scope.files", 1, "scope.files is 1, not true or false"],
    ["scope.tables", "users", "scope.tables is"],
    ["scope.tables.0", 'users"; drop table users', "scope.tables[0] is"],
    ["scope.from", null, "scope.from is null, not a time"],
    ["tables", {}, "tables is an object, not a list"],
    ["tables.0.name", "../x", 'tables[0].name is "../x", not a name'],
    ["tables.0.rows", -1, "tables[0].rows is -1, not a whole number"],
    ["tables.0.rows", 2 ** 53, "tables[0].rows is 9007199254740992, not a whole number"],
    ["tables.0.rows", "3", 'tables[0].rows is "3", not a whole number'],
    ["tables.0.digest", "00", "tables[0].digest is"],
    ["tables.0.key", ["email"], "tables[0].key[0] is not the column at its place in tables[0].columns"],
    ["tables.0.columns.1", null, "tables[0].columns[1] is null, not an object"],
    ["tables.0.columns.1.name", "id", 'tables[0].columns has "id" twice'],
    ["tables.0.parts.0.path", "../../etc/passwd", "tables[0].parts[0].path leads out of its folder by .."],
    ["tables.0.parts.0.path", "/etc/passwd", "tables[0].parts[0].path is not below the bag's folder"],
    ["tables.0.parts.0.path", "bagit.txt", "tables[0].parts[0].path is not in the folder data"],
    ["tables.0.parts.0.path", "data\\x", "tables[0].parts[0].path has a backslash"],
    ["tables.0.parts.0.sha256", sha256.toUpperCase(), "tables[0].parts[0].sha256 is"],
    ["tables.0.parts.0.bytes", null, "tables[0].parts[0].bytes is null"],
    ["tables.1.name", "users", 'tables has "users" twice'],
    ["withheldTables.0.reason", undefined, "withheldTables[0].reason is missing"],
    ["auditLog", undefined, "auditLog is missing, not an object"],
    ["auditLog.head", {}, "auditLog.head.id is missing"],
    ["files", undefined, "files is missing, not a list"],
    ["files.1.id", exampleFile(1).id, "files has"],
    ["files.1.path", exampleFile(1).path, "paths has"],
    ["files.1.path", "data/tables/users/part-00001.ndjson", "paths has"],
    ["files.1.createdAt", "\u001b[2J\u202e", 'files[1].createdAt is "\\u001b[2J\\u{202e}", not a time'],
  ])("%s that is wrong is refused", (path, value, reason) => {
    expect(faultOf(changed(path, value))).toContain(`export.json: ${reason}`);
  });

  test("has no fields that this version does not know", () => {
    const json = changed("tenant.plan", "gold").replace(
      '"files"',
      '"__proto__":{"ok":true},"more":1,"files"',
    );
    expect(parseExportDocument(json)).toEqual(document);
    expect(Reflect.get(parseExportDocument(json), "ok")).toBeUndefined();
  });

  test("a number past any number is refused", () => {
    const json = JSON.stringify(document).replace(/"schemaVersion":\d+/, '"schemaVersion":1e400');
    expect(faultOf(json)).toContain("schemaVersion is null, not a whole number");
  });

  test("anything in the place of anything is read or refused by one error", () => {
    const names = ["id", "tenant", "tables", "scope", "auditLog", "files", "withheldTables", "version"];
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.jsonValue(), (name, value) => {
        const json = changed(name, value);
        try {
          expect(parseExportDocument(json)).toEqual(JSON.parse(json));
        } catch (error) {
          if (!(error instanceof EctusError)) throw error;
          expect(error.code).toBe("bag_invalid");
        }
      }),
    );
  });
});

/** The same with its fields in the opposite order, at every depth. */
function reversed<T>(value: T): T {
  if (Array.isArray(value)) return value.map(reversed) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([name, one]) => [name, reversed(one)]),
  ) as T;
}
