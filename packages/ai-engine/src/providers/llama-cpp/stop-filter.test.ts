// The filter against a model of it that looks at one character after the other.
import fc from "fast-check";
import { expect, test } from "vitest";
import { createStopFilter } from "./stop-filter.ts";

function filter(pieces: readonly string[], stops: readonly string[]) {
  const stop = createStopFilter(stops);
  const given: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = stop.push(piece);
    given.push(text);
    if (stopped) return { given, text: given.join(""), stopped };
  }
  given.push(stop.end());
  return { given, text: given.join(""), stopped: false };
}

/** Cuts where the first stop text is completed; of two that end there, at the beginning of the longer. */
function cutText(text: string, stops: readonly string[]) {
  for (let end = 1; end <= text.length; end += 1) {
    const ending = stops.filter((stop) => stop !== "" && text.slice(0, end).endsWith(stop));
    const longest = Math.max(...ending.map((stop) => stop.length));
    if (ending.length > 0) return { text: text.slice(0, end - longest), stopped: true };
  }
  return { text, stopped: false };
}

test("a stop text across the borders of pieces is found and not given on", () => {
  expect(filter(["one ST", "O", "P two"], ["STOP"])).toMatchObject({ text: "one ", stopped: true });
  expect(filter(["a\n", "\nb"], ["\n\n"])).toMatchObject({ text: "a", stopped: true });
});

test("what could become a stop text is held back, and given on when it did not", () => {
  expect(filter(["one ST", "ART"], ["STOP"]).given).toEqual(["one ", "START", ""]);
  expect(filter(["one ST"], ["STOP"]).given).toEqual(["one ", "ST"]);
});

test("an empty stop text stops nothing", () => {
  expect(filter(["abc"], [""])).toMatchObject({ text: "abc", stopped: false });
});

test("however a text is cut into pieces, the same comes out", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "\n"), maxLength: 4 });
  fc.assert(
    fc.property(
      fc.array(letters, { maxLength: 20 }),
      fc.array(letters, { maxLength: 4 }),
      (pieces, stops) => {
        const { text, stopped } = filter(pieces, stops);
        expect({ text, stopped }).toEqual(cutText(pieces.join(""), stops));
      },
    ),
    { numRuns: 2000 },
  );
});
