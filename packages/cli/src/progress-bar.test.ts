// Draws progress on outputs that remember what was written to them.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createProgressBar } from "./progress-bar.ts";

function recorder(more: { isTTY?: boolean; columns?: number }) {
  const written: string[] = [];
  return { ...more, written, write: (text: string) => written.push(text) };
}

describe("on a terminal", () => {
  const start = (columns?: number) => {
    const output = recorder({ isTTY: true, ...(columns !== undefined && { columns }) });
    let time = 0;
    const bar = createProgressBar({ output, label: "model", now: () => time });
    return {
      output,
      bar,
      tick: (ms: number) => {
        time += ms;
      },
    };
  };

  test("the bar is drawn over the line with share, amount and rate", () => {
    const { output, bar, tick } = start();
    bar.update({ source: "PyPI", bytes: 0, totalBytes: 10_000_000 });
    tick(1000);
    bar.update({ source: "PyPI", bytes: 5_000_000, totalBytes: 10_000_000 });
    expect(output.written[0]).toMatch(/^\rmodel from PyPI \[\.+\] {3}0 % {2}0\.0 of 10\.0 MB.\[K$/);
    expect(output.written[1]).toMatch(
      /^\rmodel from PyPI \[#+\.+\] {2}50 % {2}5\.0 of 10\.0 MB, 5\.0 MB\/s.\[K$/,
    );
  });

  test("it is drawn ten times a second at most, and the last state always", () => {
    const { output, bar, tick } = start();
    for (let step = 0; step < 100; step += 1) {
      bar.update({ source: "A", bytes: step, totalBytes: 100 });
      tick(10);
    }
    expect(output.written.length).toBe(10);
    bar.update({ source: "A", bytes: 100, totalBytes: 100 });
    expect(output.written.at(-1)).toContain("100 %");
    bar.end();
    expect(output.written.at(-1)).toBe("\n");
    const { length } = output.written;
    bar.end();
    bar.update({ source: "A", bytes: 1, totalBytes: 100 });
    expect(output.written).toHaveLength(length);
  });

  test("the rate of a second source is its own", () => {
    const { output, bar, tick } = start();
    bar.update({ source: "A", bytes: 0, totalBytes: 100e6 });
    tick(1000);
    bar.update({ source: "A", bytes: 50e6, totalBytes: 100e6 });
    tick(1000);
    bar.update({ source: "B", bytes: 0, totalBytes: 100e6 });
    expect(output.written.at(-1)).not.toContain("MB/s");
  });

  test("a note stands on a line of its own, and the bar is drawn again below it", () => {
    const { output, bar } = start();
    bar.note("Before.");
    bar.update({ bytes: 5, totalBytes: 10 });
    const drawn = output.written.at(-1);
    bar.note("It broke.");
    expect(output.written).toEqual(["Before.\n", drawn, "\r\u001B[K", "It broke.\n", drawn]);
    bar.end();
    const { length } = output.written;
    bar.note("Too late.");
    expect(output.written).toHaveLength(length);
  });

  test("nothing is written when nothing was fetched", () => {
    const { output, bar } = start();
    bar.end();
    expect(output.written).toEqual([]);
  });

  test("a line is never longer than the terminal is wide", () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(2_000_000_000), fc.nat(2_000_000_000), (columns, bytes, totalBytes) => {
        const { output, bar, tick } = start(columns);
        bar.update({ source: "Hugging Face", bytes, totalBytes });
        tick(500);
        bar.update({ source: "Hugging Face", bytes: bytes + 1, totalBytes });
        for (const text of output.written) {
          const visible = text.replace("\r", "").replace("\u001B[K", "");
          expect(visible.length).toBeLessThan(Math.max(columns, 1));
        }
      }),
    );
  });
});

describe("elsewhere", () => {
  test("a line is printed for every tenth", () => {
    const output = recorder({});
    const bar = createProgressBar({ output, label: "model" });
    for (let bytes = 0; bytes <= 1_000_000; bytes += 1_000) {
      bar.update({ source: "A", bytes, totalBytes: 1_000_000 });
    }
    bar.end();
    bar.update({ source: "B", bytes: 0, totalBytes: 1 });
    expect(output.written).toHaveLength(11);
    expect(output.written[0]).toBe("model from A: 0 % (0.0 of 1.0 MB)\n");
    expect(output.written[10]).toBe("model from A: 100 % (1.0 of 1.0 MB)\n");
  });

  test("a second source starts at its own beginning, and an unknown total is 0 %", () => {
    const output = recorder({});
    const bar = createProgressBar({ output, label: "model" });
    bar.update({ source: "A", bytes: 9, totalBytes: 10 });
    bar.update({ source: "B", bytes: 9, totalBytes: 0 });
    expect(output.written).toEqual([
      "model from A: 90 % (0.0 of 0.0 MB)\n",
      "model from B: 0 % (0.0 of 0.0 MB)\n",
    ]);
  });
});
