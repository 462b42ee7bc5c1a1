import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { type Block, compress } from "./compress.ts";

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Pieces that come at once, or each in a turn of its own. */
async function* pieces(whole: Buffer, cuts: readonly number[], late: boolean): AsyncGenerator<Block> {
  let start = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    const end = Math.min(cut, whole.length);
    if (late) await turn();
    if (end > start) yield { bytes: whole.subarray(start, end) };
    start = Math.max(start, end);
  }
  if (start < whole.length) yield { bytes: whole.subarray(start) };
}

const rows = Buffer.from(
  Array.from({ length: 9_000 }, (_, row) => `{"id":${row},"text":"${"word ".repeat(row % 9)}"}\n`).join(""),
);

describe.each(["gzip", "zstd"] as const)("%s", (compression) => {
  const decompress = compression === "gzip" ? gunzipSync : zstdDecompressSync;

  test("gives the same bytes in whatever pieces and at whatever time the rows come", async () => {
    const whole = await collect(compress(pieces(rows, [], false), compression));
    expect(decompress(whole)).toEqual(rows);
    const cuts = fc.array(fc.nat(rows.length), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(cuts, fc.boolean(), async (at, late) => {
        const cut = await collect(compress(pieces(rows, at, late), compression));
        expect(cut.equals(whole)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test("of nothing is a whole file too", async () => {
    expect(decompress(await collect(compress(pieces(Buffer.alloc(0), [], false), compression)))).toHaveLength(
      0,
    );
  });

  test("throws what its source throws", async () => {
    async function* broken(): AsyncGenerator<Block> {
      yield { bytes: rows };
      throw new Error("the source broke");
    }
    await expect(collect(compress(broken(), compression))).rejects.toThrow("the source broke");
  });

  test("that is left ends its source", async () => {
    let ended = false;
    async function* endless(): AsyncGenerator<Block> {
      try {
        for (;;) yield { bytes: randomBytes(300_000) };
      } finally {
        ended = true;
      }
    }
    for await (const _ of compress(endless(), compression)) break;
    // The source is asked for its end when its next block is refused.
    await until(() => ended);
  });

  test("asks its source for a few blocks ahead and no more while nobody reads", async () => {
    let taken = 0;
    async function* counted(): AsyncGenerator<Block> {
      for (;;) {
        taken += 1;
        yield { bytes: randomBytes(1_000_000) };
      }
    }
    const stream = compress(counted(), compression);
    await stream.next();
    for (let turns = 0; turns < 200; turns += 1) await turn();
    expect(taken).toBeLessThan(12);
    await stream.return(undefined);
  });
});

test("without compression blocks pass as they are", async () => {
  expect((await collect(compress(pieces(rows, [5, 500], true), "none"))).equals(rows)).toBe(true);
});

test.each(["none", "gzip", "zstd"] as const)(
  "%s releases each block, and only when its bytes are not needed",
  async (compression) => {
    const free: Buffer[] = [];
    let made = 0;
    const expected: Buffer[] = [];
    async function* reusing(): AsyncGenerator<Block> {
      for (let number = 0; number < 60; number += 1) {
        const bytes = free.pop() ?? Buffer.alloc(100_000);
        if (bytes[0] === 0) made += 1;
        bytes.fill(`block ${number} `);
        expected.push(Buffer.from(bytes));
        yield { bytes, release: () => void free.push(bytes) };
      }
    }
    const chunks: Uint8Array[] = [];
    // As a storage does: what it was given is written before it asks for more.
    for await (const chunk of compress(reusing(), compression)) chunks.push(Buffer.from(chunk));
    const whole = Buffer.concat(chunks);
    const plain = { none: (bytes: Buffer) => bytes, gzip: gunzipSync, zstd: zstdDecompressSync }[compression](
      whole,
    );
    expect(plain.equals(Buffer.concat(expected))).toBe(true);
    expect(made).toBeLessThan(8);
    expect(free).toHaveLength(made);
  },
);

test("gzip's own program reads what it gives", async () => {
  const whole = await collect(compress(pieces(rows, [], false), "gzip"));
  expect(execFileSync("gzip", ["-dc"], { input: whole }).equals(rows)).toBe(true);
});
