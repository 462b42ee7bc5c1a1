import { randomUUIDv7 } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { newUuid, uuidAfter } from "./uuid.ts";

const form = /^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;

const timeOf = (id: string): number => Number.parseInt(id.slice(0, 13).replace("-", ""), 16);

function uuidAt(ms: number): string {
  const time = ms.toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}${randomUUIDv7().slice(13)}`;
}

test("ids are UUIDv7 of now, each greater than the one before", () => {
  const before = Date.now();
  const ids = Array.from({ length: 20_000 }, () => newUuid());
  for (const id of ids) expect(id).toMatch(form);
  expect(timeOf(ids[0] as string)).toBeGreaterThanOrEqual(before);
  expect(ids.toSorted()).toEqual(ids);
  expect(new Set(ids.map((id) => id.slice(19))).size).toBe(ids.length);
});

test("each id is greater than the one before, however the clock goes", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1e12, max: 1e12 + 9 }), { minLength: 2 }), (times) => {
      let last = "";
      for (const ms of times) {
        const id = uuidAfter(last, uuidAt(ms));
        expect(id).toMatch(form);
        expect(id > last, `${last} and then ${id}`).toBe(true);
        last = id;
      }
    }),
  );
});

test("more than can be counted in a millisecond take the time of the next one", () => {
  const made = "01a20ef6-9a1a-7000-9a7e-d61b7f8c2f5c";
  expect(uuidAfter("01a20ef6-9a1a-7fff-817c-f23ceddbc3bb", made)).toBe(
    "01a20ef6-9a1b-7000-9a7e-d61b7f8c2f5c",
  );
  expect(uuidAfter("01a20ef6-ffff-7fff-817c-f23ceddbc3bb", made)).toBe(
    "01a20ef7-0000-7000-9a7e-d61b7f8c2f5c",
  );
});
