import fc from "fast-check";
import { expect, test } from "vitest";
import { createHexUuids, newHexUuid, newUuid } from "./uuid.ts";

const form = /^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;
const hexForm = /^[\da-f]{12}7[\da-f]{3}[89ab][\da-f]{15}$/;

const timeOf = (hex: string): number => Number.parseInt(hex.slice(0, 12), 16);

test("ids are UUIDv7 of now, each greater than the one before", () => {
  const before = Date.now();
  const ids = Array.from({ length: 20_000 }, () => newUuid());
  for (const id of ids) expect(id).toMatch(form);
  expect(timeOf((ids[0] as string).replace("-", ""))).toBeGreaterThanOrEqual(before);
  expect(ids.toSorted()).toEqual(ids);
  expect(new Set(ids.map((id) => id.slice(19))).size).toBe(ids.length);
});

test("their digits alone are in one order with them", () => {
  const ids = Array.from({ length: 1_000 }, (_, index) =>
    index % 2 === 0 ? newHexUuid() : newUuid().replaceAll("-", ""),
  );
  expect(ids.toSorted()).toEqual(ids);
});

test("each id is greater than the one before, however the clock goes", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1e12, max: 1e12 + 9 }), { minLength: 2 }), (times) => {
      const clock = [...times];
      const next = createHexUuids(() => clock.shift() as number);
      let last = "";
      let latest = 0;
      for (const ms of times) {
        const id = next();
        latest = Math.max(latest, ms);
        expect(id).toMatch(hexForm);
        expect(id > last, `${last} and then ${id}`).toBe(true);
        expect(timeOf(id)).toBe(latest);
        last = id;
      }
    }),
  );
});

test("more than can be counted in a millisecond take the time of the next one", () => {
  const ms = 0x01a20ef69a1a;
  const next = createHexUuids(() => ms);
  const ids = Array.from({ length: 10_000 }, () => next());
  expect(ids.toSorted()).toEqual(ids);
  expect(timeOf(ids[0] as string)).toBe(ms);
  expect(timeOf(ids.at(-1) as string)).toBe(ms + 2);
});

test("every bit that may be random is, also where a count begins", () => {
  let ms = 1e12;
  const next = createHexUuids(() => ms++);
  let ones = 0n;
  let zeros = 0n;
  for (let number = 0; number < 2_000; number += 1) {
    const bits = BigInt(`0x${next()}`);
    ones |= bits;
    zeros |= ~bits;
  }
  // 11 bits of the count's start (its highest stays 0), and 62 after the variant.
  const random = (0x7ffn << 64n) | ((1n << 62n) - 1n);
  expect(ones & random).toBe(random);
  expect(zeros & random).toBe(random);
});
