// Label sets found by an index of numbered values, compared with a Map.
import fc from "fast-check";
import { expect, test } from "vitest";
import { LabelSetIndex } from "./label-set-index.ts";

const value = fc.oneof(
  fc.constantFrom(
    "",
    "0",
    "-0",
    "1",
    "01",
    "1e3",
    "NaN",
    "undefined",
    "null",
    "__proto__",
    "constructor",
    "ü",
  ),
  fc.nat(12).map(String),
  fc.string({ unit: "grapheme", maxLength: 3 }),
);

// With few values each label set has a place of its own; with many the places are a hash table.
test.each([
  ["few", fc.constantFrom("", "0", "x", "toString")],
  ["many", value],
])("label sets of %s values that come and go are found, and no others", (_, oneOf) => {
  const step = fc.record({ texts: fc.tuple(oneOf, oneOf, oneOf), isRemoval: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const names = ["a", "b", "c"];
      const index = new LabelSetIndex(names, 4);
      const slots = new Map<string, number>();
      const free: number[] = [];
      let capacity = 4;
      let end = 0;
      for (const { texts, isRemoval } of steps) {
        const key = JSON.stringify(texts);
        const known = slots.get(key);
        const labels = Object.fromEntries(names.map((name, position) => [name, texts[position] as string]));
        expect(index.find(labels)).toBe(known ?? -1);
        expect(index.findTexts(texts)).toBe(known ?? -1);
        if (known === undefined) {
          const slot = free.pop() ?? end;
          if (slot === end) {
            if (end === capacity) {
              capacity *= 2;
              index.grow(capacity);
            }
            end += 1;
          }
          index.add(texts, slot);
          slots.set(key, slot);
        } else if (isRemoval) {
          index.remove(known);
          slots.delete(key);
          free.push(known);
        }
      }
      for (const [key, slot] of slots) {
        expect(index.findTexts(JSON.parse(key))).toBe(slot);
        expect(JSON.stringify(index.textsAt(slot))).toBe(key);
      }
    }),
  );
});

test("hundreds of label sets without a value in common are found, and those that are left after half are removed", () => {
  const names = ["a", "b", "c"];
  const index = new LabelSetIndex(names, 1000);
  const textsOf = (slot: number) => [`a${slot}`, `b${slot}`, `c${slot}`];
  for (let slot = 0; slot < 1000; slot += 1) index.add(textsOf(slot), slot);
  for (let slot = 0; slot < 1000; slot += 2) index.remove(slot);
  for (let slot = 0; slot < 1000; slot += 1)
    expect(index.findTexts(textsOf(slot))).toBe(slot % 2 === 0 ? -1 : slot);
  for (let slot = 0; slot < 999; slot += 1)
    expect(index.findTexts([`a${slot}`, `b${slot + 1}`, `c${slot}`])).toBe(-1);
  for (let slot = 0; slot < 1000; slot += 2) index.add(textsOf(999 - slot + 1000), slot);
  for (let slot = 0; slot < 1000; slot += 2) expect(index.findTexts(textsOf(999 - slot + 1000))).toBe(slot);
});

test("a crowded hash table loses no label set and shows none that was removed", () => {
  // 16 values of each of three labels are more places than an exact index may have for 1,000 slots.
  const index = new LabelSetIndex(["a", "b", "c"], 1000);
  const slots = new Map<string, number>();
  const free = Array.from({ length: 1000 }, (_, slot) => slot);
  let random = 1;
  const next = () => {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
    return String((random >>> 16) % 16);
  };
  for (let step = 0; step < 60_000; step += 1) {
    const texts = [next(), next(), next()];
    const key = texts.join();
    const known = slots.get(key);
    if (index.findTexts(texts) !== (known ?? -1)) expect.fail(`${key} was not found in step ${step}`);
    if (known !== undefined) {
      index.remove(known);
      slots.delete(key);
      free.push(known);
    } else if (free.length > 0) {
      const slot = free.pop() as number;
      index.add(texts, slot);
      slots.set(key, slot);
    }
  }
  for (const [key, slot] of slots) expect(index.findTexts(key.split(","))).toBe(slot);
});

test("labels are found in any order, also when each call has another one", () => {
  const names = ["a", "b", "c"];
  const index = new LabelSetIndex(names, 6);
  const orders = [
    [0, 1, 2],
    [2, 0, 1],
    [1, 0, 2],
    [2, 1, 0],
    [0, 2, 1],
  ];
  // The same values in other places: a wrong order would lead to another slot.
  const rows = [
    ["1", "2", "3"],
    ["2", "3", "1"],
    ["3", "1", "2"],
  ];
  for (const [slot, row] of rows.entries()) index.add(row, slot);
  for (let round = 0; round < 60; round += 1) {
    const texts = rows[round % 3] as string[];
    const order = orders[(round * 7) % 5] as number[];
    const labels = Object.fromEntries(order.map((at) => [names[at], texts[at] as string]));
    expect(index.find(labels)).toBe(round % 3);
    const { b: _, ...withoutB } = labels;
    expect(index.find(withoutB)).toBe(-1);
    expect(() => index.find({ ...withoutB, d: "1" })).toThrow(TypeError);
  }
});

test("numbers and texts, any order of the labels, and labels left out lead to the same slot", () => {
  const index = new LabelSetIndex(["method", "status"], 4);
  index.add(["GET", "200"], 0);
  index.add(["GET", ""], 1);
  index.add(["", "0"], 2);
  index.add(["", "NaN"], 3);
  expect(index.find({ method: "GET", status: 200 })).toBe(0);
  expect(index.find({ status: "200", method: "GET" })).toBe(0);
  expect(index.find({ status: 200, method: "GET" })).toBe(0);
  expect(index.find({ method: "GET" })).toBe(1);
  expect(index.find({ method: "GET", status: undefined })).toBe(1);
  expect(index.find({ status: "", method: "GET" })).toBe(1);
  expect(index.find({ status: -0 })).toBe(2);
  expect(index.find({ status: Number.NaN })).toBe(3);
  expect(index.find({ status: "undefined" })).toBe(-1);
  expect(index.find({ method: "POST" })).toBe(-1);
  expect(index.find({})).toBe(-1);
});

test("a label that the metric does not have is refused wherever it stands", () => {
  const index = new LabelSetIndex(["a", "b"], 4);
  index.add(["1", "2"], 0);
  const refused: object[] = [
    { a: 1, b: 2, c: 3 },
    { c: 3, a: 1, b: 2 },
    { a: 1, c: 2 },
    { c: undefined },
    { a: "unseen", c: 3 },
    JSON.parse('{"__proto__": 1}'),
  ];
  for (const labels of refused)
    expect(() => index.find(labels as Record<string, string>)).toThrow(/^got the label ".*", accepts a, b$/);
});

test("labels with names of what every object has are only those that were given", () => {
  const names = ["constructor", "toString", "hasOwnProperty"];
  const index = new LabelSetIndex(names, 4);
  index.add(["", "", ""], 0);
  index.add(["x", "", "y"], 1);
  expect(index.find({})).toBe(0);
  expect(index.find({ hasOwnProperty: "y", constructor: "x" } as unknown as Record<string, string>)).toBe(1);
  expect(index.find(Object.assign(Object.create(null), { constructor: "x", hasOwnProperty: "y" }))).toBe(1);
});
