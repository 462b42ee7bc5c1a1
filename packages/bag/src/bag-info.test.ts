import fc from "fast-check";
import { expect, test } from "vitest";
import { type BagFacts, bagDeclaration, parseElements, renderBagInfo, renderElements } from "./bag-info.ts";

const facts: BagFacts = {
  exportId: "019aa64c-3b2e-7f0e-8a4d-9c5b6f1e2d3c",
  tenant: { id: "019aa64c-0000-7000-8000-000000000000", name: "Acme Corp." },
  baggedAt: new Date("2026-11-24T23:59:59Z"),
  snapshotAt: "2026-11-24T23:00:00.000000Z",
  software: "Ectus-R 0.1.0",
  payloadFiles: 17,
  payloadBytes: 1_234_567,
};

test("a bag says what it is", () => {
  expect(renderBagInfo(facts)).toBe(
    [
      "Source-Organization: Acme Corp.",
      "External-Description: Everything that export.json lists, from one snapshot that",
      "  was taken at 2026-11-24T23:00:00.000000Z",
      "External-Identifier: 019aa64c-3b2e-7f0e-8a4d-9c5b6f1e2d3c",
      "Internal-Sender-Identifier: 019aa64c-0000-7000-8000-000000000000",
      "Bagging-Date: 2026-11-24",
      "Bag-Size: 1.23 MB",
      "Payload-Oxum: 1234567.17",
      "Bag-Software-Agent: Ectus-R 0.1.0",
      "",
    ].join("\n"),
  );
  expect(parseElements(bagDeclaration)).toEqual({
    elements: [
      ["BagIt-Version", "1.0"],
      ["Tag-File-Character-Encoding", "UTF-8"],
    ],
    faults: [],
  });
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1_000, "1 KB"],
  [12_345, "12.3 KB"],
  [5e9, "5 GB"],
  [3e15, "3000 TB"],
])("%d bytes are %s", (payloadBytes, size) => {
  expect(renderBagInfo({ ...facts, payloadBytes })).toContain(`\nBag-Size: ${size}\n`);
});

test("a name cannot add a line, hide one, or be taken for a label", () => {
  const name = "Evil\r\nPayload-Oxum: 0.0\n\n\u2028Bag-Size: 0\u0085 \u202eX\u0000\ud800";
  const text = renderBagInfo({ ...facts, tenant: { ...facts.tenant, name } });
  const { elements, faults } = parseElements(text);
  expect(faults).toEqual([]);
  expect(elements[0]).toEqual(["Source-Organization", "Evil Payload-Oxum: 0.0 Bag-Size: 0 X \ufffd"]);
  expect(elements.map(([label]) => label)).toEqual(
    parseElements(renderBagInfo(facts)).elements.map(([label]) => label),
  );
});

test("a name of nothing but white space is left out", () => {
  expect(renderBagInfo({ ...facts, tenant: { ...facts.tenant, name: "\n \t" } })).not.toContain("Source");
});

test("any value comes back with its white space as single spaces, on lines of 79 characters where it has spaces", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "grapheme", maxLength: 30 })), (words) => {
      const value = words.join(" ");
      const text = renderElements([["Label", value]]);
      const plain = value.replace(/[\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim();
      expect(parseElements(text)).toEqual({ elements: plain === "" ? [] : [["Label", plain]], faults: [] });
      for (const one of text.split("\n")) {
        const isOneWord = !one.replace(/^(Label:)? */, "").includes(" ");
        expect(isOneWord || one.length <= 79, one).toBe(true);
      }
    }),
  );
});

test("what is no element is told by its line", () => {
  expect(parseElements("A: 1\r\n B\rno label\n: x\nA: \tb:c")).toEqual({
    elements: [
      ["A", "1 B"],
      ["A", "b:c"],
    ],
    faults: ["line 3 is not a label, a colon and a value", "line 4 is not a label, a colon and a value"],
  });
  expect(parseElements("  folded\n").faults).toHaveLength(1);
});
