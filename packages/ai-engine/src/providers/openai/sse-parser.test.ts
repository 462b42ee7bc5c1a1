import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createSseParser } from "./sse-parser.ts";

interface Event {
  readonly type: string;
  readonly data: string;
}

function parse(pieces: readonly Uint8Array[], maxEventLength = 1e6): { events: Event[]; tooLong: number } {
  const events: Event[] = [];
  let tooLong = 0;
  const parser = createSseParser({
    maxEventLength,
    onEvent: (data, type) => events.push({ type, data }),
    onTooLong: () => {
      tooLong += 1;
    },
  });
  for (const piece of pieces) parser.push(piece);
  return { events, tooLong };
}

const bytes = (text: string): Buffer => Buffer.from(text, "utf8");
const eventsOf = (text: string): Event[] => parse([bytes(text)]).events;
const message = (data: string): Event => ({ type: "message", data });

/** Cuts `whole` at the given positions. */
function cut(whole: Buffer, positions: readonly number[]): Buffer[] {
  const sorted = [...new Set(positions.map((position) => position % (whole.length + 1)))].sort(
    (a, b) => a - b,
  );
  const edges = [0, ...sorted, whole.length];
  return edges.slice(1).map((end, index) => whole.subarray(edges[index], end));
}

/** The specification's algorithm on the whole text, line by line, without any thought of speed. */
function reference(text: string): Event[] {
  const events: Event[] = [];
  let data = "";
  let type = "";
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/);
  lines.pop();
  for (const line of lines) {
    if (line === "") {
      if (data !== "") {
        const content = data.endsWith("\n") ? data.slice(0, -1) : data;
        if (content !== "") events.push({ type: type || "message", data: content });
      }
      data = "";
      type = "";
      continue;
    }
    const match = /^([^:]*)(?:: ?([\s\S]*))?$/.exec(line);
    if (line.startsWith(":")) continue;
    if (match?.[1] === "data") data += `${match[2] ?? ""}\n`;
    if (match?.[1] === "event") type = match[2] ?? "";
  }
  return events;
}

describe("the examples of the WHATWG specification, section 9.2.6", () => {
  test("several data lines make one event, joined by line feeds", () => {
    expect(eventsOf("data: YHOO\ndata: +2\ndata: 10\n\n")).toEqual([message("YHOO\n+2\n10")]);
  });

  test("comments, ids and the end without a blank line give no event", () => {
    const text =
      ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\ndata: lost";
    expect(eventsOf(text)).toEqual([
      message("first event"),
      message("second event"),
      message(" third event"),
    ]);
  });

  test("one space after the colon is no part of the value", () => {
    expect(eventsOf("data:test\n\ndata: test\n\n")).toEqual([message("test"), message("test")]);
  });

  test("a field without a colon has an empty value", () => {
    expect(eventsOf("data\ndata\n\ndata:\n")).toEqual([message("\n")]);
  });
});

test("events carry their type, and the next one starts without it", () => {
  expect(eventsOf("event: error\ndata: a\n\ndata: b\n\n")).toEqual([
    { type: "error", data: "a" },
    message("b"),
  ]);
});

test("an event without data is dropped together with its type", () => {
  expect(eventsOf("event: error\n\ndata: b\n\n")).toEqual([message("b")]);
});

test("a byte order mark at the start is skipped, and only there", () => {
  expect(eventsOf("\ufeffdata: a\n\n\ufeffdata: b\n\n")).toEqual([message("a")]);
});

test("CRLF, LF and CR end lines alike", () => {
  expect(eventsOf("data: a\r\n\r\ndata: b\n\ndata: c\r\rdata: d\r\n\n")).toEqual(
    ["a", "b", "c", "d"].map(message),
  );
});

test("a CRLF cut in two is one line end", () => {
  expect(parse([bytes("data: a\r"), bytes("\ndata: b\r"), bytes("\n\r"), bytes("\n")]).events).toEqual([
    message("a\nb"),
  ]);
});

test("an unfinished line that is too long is reported once, and nothing is parsed after it", () => {
  const { events, tooLong } = parse(
    [bytes("data: ok\n\n"), bytes(`data: ${"x".repeat(200)}`), bytes("\n\ndata: b\n\n")],
    100,
  );
  expect(events).toEqual([message("ok")]);
  expect(tooLong).toBe(1);
});

test("many short data lines of one event are bounded like one long line", () => {
  expect(parse([bytes("data: 0123456789\n".repeat(1000))], 100).tooLong).toBe(1);
});

const line = fc.oneof(
  fc.constantFrom("", "data", "data:", ":", "event: x", "event", "id: 1", "retry: 10", ": comment"),
  fc.string({ unit: "binary" }).map((text) => `data: ${text.replace(/[\r\n]/g, "")}`),
  fc.string({ unit: "grapheme" }).map((text) => text.replace(/[\r\n]/g, "")),
);
const stream = fc
  .tuple(
    fc.boolean(),
    fc.array(fc.tuple(line, fc.constantFrom("\n", "\r", "\r\n", "\n\n", "\r\n\r\n")), { maxLength: 30 }),
    fc.string(),
  )
  .map(([bom, lines, rest]) => (bom ? "\ufeff" : "") + lines.flat().join("") + rest);

test("any stream parses as the specification's algorithm has it, wherever it is cut", () => {
  fc.assert(
    fc.property(stream, fc.array(fc.nat(10_000), { maxLength: 40 }), (text, positions) => {
      const whole = bytes(text);
      // Lone surrogates become U+FFFD in UTF-8.
      expect(parse(cut(whole, positions)).events).toEqual(reference(whole.toString("utf8")));
    }),
    { numRuns: 500 },
  );
});

test("a stream cut after every byte parses like the whole", () => {
  const whole = bytes('data: {"text":"Grüße 👋🏽 日本"}\r\n\r\nevent: error\ndata: é\n\n');
  const single = Array.from(whole, (byte) => Uint8Array.of(byte));
  expect(parse(single).events).toEqual(parse([whole]).events);
  expect(parse(single).events).toHaveLength(2);
});

test("a long event in small pieces takes linear time", () => {
  const piece = bytes("x".repeat(64));
  const pieces = [bytes("data: "), ...Array.from({ length: 50_000 }, () => piece), bytes("\n\n")];
  const start = performance.now();
  const { events } = parse(pieces, 1e7);
  expect(events[0]?.data).toHaveLength(3_200_000);
  // Searching the line again at each piece takes more than ten seconds here.
  expect(performance.now() - start).toBeLessThan(3000);
});
