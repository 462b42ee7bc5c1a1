import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readRowKey } from "./row-key.ts";

const id = "0193aaaa-0000-7000-8000-000000000001";
const time = "2026-11-24T22:22:35.123456+00:00";

describe("NDJSON", () => {
  const read = (row: string, key: string[]) => readRowKey(Buffer.from(row), key, "ndjson");

  test("gives texts and numbers as they are written", () => {
    expect(
      read(`{"completion_id":"${id}","position":-12,"role":"user"}\n`, ["completion_id", "position"]),
    ).toEqual([id, "-12"]);
    expect(read(`{"id":"${id}","created_at":"${time}"}\n`, ["id", "created_at"])).toEqual([id, time]);
  });

  test("needs no more than the beginning of a row", () => {
    expect(read(`{"id":"${id}","body":{"content":"${"x".repeat(500)}`, ["id"])).toEqual([id]);
  });

  test("refuses a row that begins with something else", () => {
    for (const row of [
      "",
      "{}\n",
      `{"role":"x","id":"${id}"}\n`,
      `{"id":null}\n`,
      `{"id":"${id}`,
      `{"id":12`,
      `{"id":{"a":1}}`,
    ])
      expect(() => read(row, ["id"])).toThrow("does not begin with its key: id");
  });
});

describe("CSV", () => {
  const read = (row: string, key: string[]) => readRowKey(Buffer.from(row), key, "csv");

  test("gives values without their quotes", () => {
    expect(read(`"${id}","3","user","say ""hi"""\r\n`, ["completion_id", "position"])).toEqual([id, "3"]);
    expect(read(`"2026-11-01"\r\n`, ["month"])).toEqual(["2026-11-01"]);
    expect(read(`"2026-11-24 22:22:35.123456+00","x`, ["created_at"])).toEqual([
      "2026-11-24 22:22:35.123456+00",
    ]);
  });

  test("refuses a null and a row that breaks off", () => {
    for (const row of ["", ",\r\n", `"${id}`, `"${id}"`])
      expect(() => read(row, ["id"])).toThrow("does not begin with its key: id");
  });
});

test("what comes after the key does not matter", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.integer(), (text, number) => {
      const json = JSON.stringify({ id, position: number, text });
      expect(readRowKey(Buffer.from(json), ["id", "position"], "ndjson")).toEqual([id, String(number)]);
      const csv = `"${id}","${number}","${text.replaceAll('"', '""')}"\r\n`;
      expect(readRowKey(Buffer.from(csv), ["id", "position"], "csv")).toEqual([id, String(number)]);
    }),
  );
});
