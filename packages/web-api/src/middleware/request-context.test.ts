import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { correlationIdOf, hexOfRequestId, newRequestId } from "./request-context.ts";

test("a request id is a prefix and what can be the id of a trace", () => {
  expect(newRequestId()).toMatch(/^req_[\da-f]{32}$/);
  expect(hexOfRequestId("req_0123456789abcdef0123456789abcdef")).toBe("0123456789abcdef0123456789abcdef");
});

describe("the correlation id", () => {
  test("is that of the caller, and its request id if it gives no other", () => {
    expect(correlationIdOf({ "x-correlation-id": "order-17", "x-request-id": "a" })).toBe("order-17");
    expect(correlationIdOf({ "x-request-id": "b7c1/2:x=@._+-" })).toBe("b7c1/2:x=@._+-");
    expect(correlationIdOf({ "x-correlation-id": "no good", "x-request-id": "a" })).toBe("a");
    expect(correlationIdOf({})).toBeUndefined();
  });

  test.each([
    ["is empty", ""],
    ["has a line feed", "a\nb"],
    ["has a quotation mark", 'a"b'],
    ["is not ASCII", "bestellung-ä"],
    ["is longer than 128 characters", "a".repeat(129)],
    ["has 10 kB", "a".repeat(10_000)],
    ["was sent twice", "a, b"],
    ["is an e-mail address", "ada@example.com"],
    ["is a key", "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"],
    ["is the number of a card", "4111111111111111"],
  ])("is not taken when it %s", (_name, id) => {
    expect(correlationIdOf({ "x-correlation-id": id, "x-request-id": id })).toBeUndefined();
  });

  test("can stand in a line of JSON and in a header as it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
        const id = correlationIdOf({ "x-correlation-id": text });
        if (id === undefined) return;
        expect(id).toBe(text);
        expect(JSON.stringify(id)).toBe(`"${id}"`);
        expect(id).toMatch(/^[\x21-\x7e]+$/);
      }),
      { numRuns: 1_000 },
    );
  });
});
