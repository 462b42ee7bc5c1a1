import fc from "fast-check";
import { expect, test } from "vitest";
import type { ExportObject, ExportProgressFacts } from "./export-client.ts";
import { amountsOf, bytesText, durationText, showExportProgress } from "./export-progress.ts";

const noProgress: ExportProgressFacts = {
  ...{ rows_done: 0, rows_expected: null, bytes_done: 0, bytes_expected: null },
  ...{ rows_per_second: null, bytes_per_second: null, seconds_left: null },
};

function exportIn(
  phase: string,
  progress: Partial<ExportProgressFacts> = {},
  more: Partial<ExportObject> = {},
) {
  const made: ExportObject = {
    ...{ id: "export-1", object: "export", created_at: 0, format: "ndjson", compression: "zstd" },
    ...{ state: "running", phase, attempt: 1, finished_at: null, expires_at: null, notice: null },
    ...{ bag: null, error: null, progress: { ...noProgress, ...progress } },
    ...more,
  };
  return made;
}

function shown(columns?: number, isTTY = true) {
  let text = "";
  const output = {
    isTTY,
    ...(columns === undefined ? {} : { columns }),
    write: (part: string) => (text += part),
  };
  return { progress: showExportProgress(output), text: () => text };
}

test("on a terminal a line is drawn over: a bar, how much, how fast and how long yet", () => {
  const { progress, text } = shown(100);
  progress.update(exportIn("waiting", {}, { state: "queued" }));
  progress.update(
    exportIn("tables", {
      ...{ rows_done: 250_000, rows_expected: 1_000_000, bytes_done: 80e6, bytes_expected: 320e6 },
      ...{ bytes_per_second: 20e6, rows_per_second: 62_500, seconds_left: 12 },
    }),
  );
  progress.update(exportIn("done", { rows_done: 1_000_000, bytes_done: 320e6 }, { state: "ready" }));
  progress.end();
  expect(text()).toBe(
    [
      "waiting for a worker  0 rows, 0.0 MB",
      "writing tables [####..............]  25 %  250,000 of 1,000,000 rows, 80.0 MB, 20.0 MB/s, 12 s left",
      "ready [########################################] 100 %  1,000,000 rows, 320.0 MB",
    ]
      .map((line) => `\r${line}\u001B[K`)
      .join("")
      .concat("\n"),
  );
});

test("a note stands on a line of its own, above the bar", () => {
  const { progress, text } = shown(40);
  progress.update(exportIn("files"));
  progress.note("The API answers again.");
  expect(text()).toBe(
    "\rcopying files  0 rows, 0.0 MB\u001B[K\r\u001B[KThe API answers again.\n\rcopying files  0 rows, 0.0 MB\u001B[K",
  );
});

test("elsewhere there is a line at each phase, and at a new attempt", () => {
  const { progress, text } = shown(undefined, false);
  progress.update(exportIn("waiting", {}, { state: "queued" }));
  for (let rows = 0; rows < 10; rows += 1) progress.update(exportIn("tables", { rows_done: rows }));
  progress.note("The API answers again.");
  progress.update(exportIn("tables", {}, { attempt: 2 }));
  progress.update(exportIn("a new\u001Bphase"));
  progress.update(exportIn("done", {}, { state: "ready" }));
  progress.end();
  progress.update(exportIn("tables"));
  expect(text().split("\n")).toEqual([
    "export-1: waiting for a worker",
    "export-1: writing tables",
    "The API answers again.",
    "export-1: writing tables (attempt 2)",
    "export-1: a new\\u{1b}phase",
    "export-1: ready",
    "",
  ]);
});

test("whatever a server says and however narrow the terminal, a line stays one line", () => {
  const count = fc.option(fc.double({ min: 0, max: 1e18, noNaN: true }), { nil: null });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.record({ rows: count, expected: count, bytes: count, ahead: count, speed: count, left: count }),
      (columns, { rows, expected, bytes, ahead, speed, left }) => {
        const { progress, text } = shown(columns);
        progress.update(
          exportIn("tables", {
            ...{
              rows_done: rows ?? 0,
              rows_expected: expected,
              bytes_done: bytes ?? 0,
              bytes_expected: ahead,
            },
            ...{ bytes_per_second: speed, seconds_left: left },
          }),
        );
        const line = text().slice(1, -"\u001B[K".length);
        expect(line.length).toBeLessThan(columns);
        expect(line).not.toMatch(/NaN|Infinity|\n/);
      },
    ),
  );
});

test.each([
  [0, "0.0 MB"],
  [20, "0.1 kB"],
  [14_287, "14.3 kB"],
  [123_456, "0.1 MB"],
  [240_018_249, "240.0 MB"],
])("%d bytes are %s", (bytes, text) => {
  expect(bytesText(bytes)).toBe(text);
});

test("an export of files alone says nothing of rows", () => {
  const unknown = { rows_per_second: null, bytes_per_second: null, seconds_left: null };
  const progress = { rows_done: 0, rows_expected: 0, bytes_done: 5e6, bytes_expected: null, ...unknown };
  expect(amountsOf(progress)).toEqual(["5.0 MB"]);
});

test.each([
  [0, "0 s"],
  [0.2, "1 s"],
  [59, "59 s"],
  [59.5, "1 min"],
  [200, "3 min 20 s"],
  [3_600, "1 h"],
  [7_530, "2 h 5 min"],
])("%d seconds are %s", (seconds, text) => {
  expect(durationText(seconds)).toBe(text);
});
