import { expect, test } from "vitest";
import { removeBlobs } from "./remove-blobs.ts";

const ids = Array.from({ length: 40 }, (_, index) => `blob-${index}`);
const { signal } = new AbortController();

test("all are removed, some at a time", async () => {
  const removed: string[] = [];
  let now = 0;
  let most = 0;
  const storage = {
    async remove(_: string, id: string) {
      now += 1;
      most = Math.max(most, now);
      await Promise.resolve();
      now -= 1;
      removed.push(id);
    },
  };
  expect(await removeBlobs(storage, "tenant", ids, signal)).toEqual({ left: 0, failure: undefined });
  expect(removed.toSorted()).toEqual(ids.toSorted());
  expect(most).toBe(8);
});

test("one that fails is the last, and is told", async () => {
  const failure = new Error("no storage");
  let asked = 0;
  const storage = {
    async remove() {
      asked += 1;
      if (asked > 10) throw failure;
    },
  };
  const result = await removeBlobs(storage, "tenant", ids, signal);
  expect(result).toEqual({ left: 30, failure });
  expect(asked).toBeLessThanOrEqual(18);
});

test("none is begun once there is an end to it", async () => {
  const stop = new AbortController();
  const storage = { remove: async () => stop.abort() };
  expect((await removeBlobs(storage, "tenant", ids, stop.signal)).left).toBeGreaterThanOrEqual(32);
});
