// That every file that is opened to check a bag is closed again, however the check ends. A FileHandle that nobody closes
// is an error when its memory is collected, in whatever runs then.
import { mkdtemp, readdir, readlink, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTestKey, makeBag, sourceOf, tarOf, writeBag } from "../../../tests/bag/test-bag.ts";
import { until } from "../../../tests/postgres/until.ts";
import { type BagSource, openBag, type VerifyOptions, verifyBag } from "./index.ts";

const key = createTestKey();
// Files of more than one chunk, so that some of each is still unread when it is given up.
const bag = makeBag({ key, bodies: ["a".repeat(3_000_000), "b".repeat(3_000_000)] });
const part = "data/tables/messages/part-00001.ndjson";

let base: string;
const paths = { folder: "", tar: "" };
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "ectus-open-files-"));
  paths.folder = await writeBag(bag, base);
  paths.tar = join(base, "bag.tar");
  await writeFile(paths.tar, tarOf(bag));
});
afterEach(() => rm(base, { recursive: true }));

/** What of the test's folder this process has open. */
async function openFiles(): Promise<readonly string[]> {
  const links = await Promise.all(
    (await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")),
  );
  return links.filter((path) => path.startsWith(base));
}

/** A stream is closed a moment after its reader is told. */
const expectAllClosed = (): Promise<void> => until(async () => (await openFiles()).length === 0, 2_000);

const never = new AbortController().signal;

describe.each(["folder", "tar"] as const)("a bag in a %s leaves no file open", (kind) => {
  const open = (): Promise<BagSource> => openBag(paths[kind]);

  test("when it was checked, or is not opened for an abort", async () => {
    {
      await using source = await open();
      expect((await verifyBag(source, { keys: [key.public], signal: never })).faults).toEqual([]);
    }
    await expect(openBag(paths[kind], AbortSignal.abort(new Error("stop")))).rejects.toThrow("stop");
    await expectAllClosed();
  });

  test("when its check is aborted before it begins, or at any chunk", async () => {
    let chunks = 0;
    {
      await using source = await open();
      await verifyBag(source, { keys: [], signal: never, onProgress: () => chunks++ });
    }
    expect(chunks).toBeGreaterThan(10);
    for (let stopAt = 0; stopAt <= chunks - 1; stopAt++) {
      const stop = new AbortController();
      if (stopAt === 0) stop.abort(new Error("stop"));
      let seen = 0;
      await using source = await open();
      const onProgress = () => {
        if (++seen === stopAt) stop.abort(new Error("stop"));
      };
      await expect(verifyBag(source, { keys: [], signal: stop.signal, onProgress })).rejects.toThrow("stop");
    }
    await expectAllClosed();
  });

  test("when its check is aborted while a file of it is being opened", async () => {
    const stop = new AbortController();
    await using source = await open();
    const opening: BagSource = {
      ...source,
      async read(path) {
        const stream = await source.read(path);
        if (path === part) stop.abort(new Error("stop"));
        return stream;
      },
    };
    await expect(verifyBag(opening, { keys: [], signal: stop.signal })).rejects.toThrow("stop");
    await source.close();
    await expectAllClosed();
  });

  test("when a file of it became shorter meanwhile", async () => {
    {
      await using source = await open();
      await truncate(kind === "tar" ? paths.tar : join(paths.folder, part), 2_000_000);
      const { faults } = await verifyBag(source, { keys: [], signal: never });
      expect(faults).toContainEqual(expect.objectContaining({ code: "file_unreadable", path: part }));
    }
    await expectAllClosed();
  });

  test("when a program without types forgot the signal", async () => {
    {
      await using source = await open();
      const options = { keys: [] } as unknown as VerifyOptions;
      await expect(verifyBag(source, options)).rejects.toThrow(TypeError);
      expect(await openFiles()).toHaveLength(kind === "tar" ? 1 : 0);
    }
    await expectAllClosed();
  });

  test("when what is told of the progress throws", async () => {
    {
      await using source = await open();
      const onProgress = () => {
        throw new Error("the terminal went away");
      };
      await verifyBag(source, { keys: [], signal: never, onProgress }).catch(() => {});
    }
    await expectAllClosed();
  });
});

test("a source that fails in the middle of a file has its stream destroyed, and the other files are checked", async () => {
  const whole = sourceOf(bag);
  const streams: Readable[] = [];
  const source: BagSource = {
    ...whole,
    async read(path) {
      const bytes = await buffer(await whole.read(path));
      const stream = Readable.from(
        (async function* () {
          yield bytes.subarray(0, 10);
          if (path === part) throw new Error("the disk \u001b[2Jfailed");
          yield bytes.subarray(10);
        })(),
      );
      streams.push(stream);
      return stream;
    },
  };
  const { faults } = await verifyBag(source, { keys: [key.public], signal: never });
  expect(faults.map(({ message }) => message)).toEqual([
    `${part}: it cannot be read: the disk \\u{1b}[2Jfailed.`,
  ]);
  expect(streams.length).toBe(bag.files.size);
  for (const stream of streams) expect(stream.destroyed).toBe(true);
});
