import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRowReader } from "./index.ts";

interface Read {
  readonly header: string | undefined;
  readonly rows: readonly string[];
  readonly values: readonly number[];
}

function read(format: "ndjson" | "csv", text: string, chunkBytes = 1_000_000, mostRowBytes?: number): Read {
  const rows: string[] = [];
  const counts: number[] = [];
  let header: string | undefined;
  const reader = createRowReader({
    format,
    onRow(buffer, start, end, values) {
      rows.push(buffer.toString("utf8", start, end));
      counts.push(values);
    },
    onHeader(given) {
      header = given;
    },
    ...(mostRowBytes === undefined ? {} : { mostRowBytes }),
  });
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += chunkBytes) reader.write(bytes.subarray(at, at + chunkBytes));
  reader.end();
  return { header, rows, values: counts };
}

const anyText = fc.string({
  unit: fc.constantFrom('"', ",", "\r", "\n", "a", "é", "🦦", "\\"),
  maxLength: 12,
});
const chunkSizes = fc.integer({ min: 1, max: 20 });

describe("NDJSON", () => {
  test("has a row a line, wherever chunks end", () => {
    const line = anyText.map((text) => JSON.stringify(text));
    fc.assert(
      fc.property(fc.array(line), chunkSizes, (lines, chunkBytes) => {
        const text = lines.map((one) => `${one}\n`).join("");
        expect(read("ndjson", text, chunkBytes)).toMatchObject({ header: undefined, rows: lines });
      }),
    );
  });

  test("without a last line end is refused", () => {
    expect(() => read("ndjson", "{}\n{}")).toThrow("row 2 has no line end");
  });
});

describe("CSV", () => {
  const value = fc.option(anyText);
  const written = (values: readonly (string | null)[]): string =>
    values.map((one) => (one === null ? "" : `"${one.replaceAll('"', '""')}"`)).join(",");

  test("has rows with any text in their values, wherever chunks end", () => {
    const rows = fc.array(fc.array(value, { minLength: 1, maxLength: 4 }));
    fc.assert(
      fc.property(rows, chunkSizes, (rows, chunkBytes) => {
        const lines = rows.map(written);
        const found = read("csv", ["a,b", ...lines].map((line) => `${line}\r\n`).join(""), chunkBytes);
        expect(found).toEqual({ header: "a,b", rows: lines, values: rows.map(({ length }) => length) });
      }),
      { numRuns: 500 },
    );
  });

  test("of a header alone has no rows", () => {
    expect(read("csv", "a,b\r\n")).toEqual({ header: "a,b", rows: [], values: [] });
  });

  test.each([
    ["", "its header is missing"],
    ["a,b", "its header has no line end"],
    ["a,b\n", "its header ends with a line feed alone"],
    ['a,b\r\n"1","2"\n', "row 1 ends with a line feed alone"],
    ['a,b\r\n"1","2"\r\n"3","4"', "row 2 has no line end"],
    ['a,b\r\n"1","2', "row 1 ends within a value in quotes"],
    ['a,b\r\n"1",2\r\n', "row 1 has a value that is not in quotes"],
    ['a,b\r\n"1"x,"2"\r\n', "row 1 has a value that is not in quotes"],
    ['a,b\r\n"1",\r"2"\r\n', "row 1 has a carriage return that ends no line"],
  ])("%j is refused, in one chunk or in many", (text, reason) => {
    expect(() => read("csv", text)).toThrow(reason);
    expect(() => read("csv", text, 1)).toThrow(reason);
  });
});

test("a row that is too long is refused as soon as it is", () => {
  for (const format of ["ndjson", "csv"] as const) {
    const header = format === "csv" ? "a\r\n" : "";
    const row = `"${"x".repeat(98)}"`;
    expect(read(format, `${header}${row}\r\n`, 7, 101).rows).toHaveLength(1);
    expect(() => read(format, `${header}"x${row.slice(1)}\r\n`, 1_000, 100)).toThrow(
      "row 1 has more than 100 bytes",
    );
    expect(() => read(format, `${header}"${"x".repeat(1_000)}`, 7, 100)).toThrow(
      "row 1 has more than 100 bytes",
    );
  }
});
