import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";
import { EctusError, newUuid } from "@ectus/core";
import { SpanStatusCode } from "@opentelemetry/api";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { drawTree, inTrace } from "../../../tests/monitoring/in-trace.ts";
import { type RecordedTraces, recordTraces } from "../../../tests/monitoring/recorded-traces.ts";
import { openStorage } from "./open-storage.ts";
import type { BlobStorage } from "./storage.ts";
import { traceStorage } from "./traced-storage.ts";

let folder: string;
let storage: BlobStorage;
let traces: RecordedTraces;
const tenantId = newUuid();
const blobId = newUuid();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-traced-storage-"));
  storage = await openStorage(pathToFileURL(folder).href);
  traces = recordTraces();
});
afterEach(() => rm(folder, { recursive: true }));

const write = (text: string, maxBytes = 1_000) =>
  storage.write(tenantId, blobId, Readable.from([Buffer.from(text)]), { maxBytes });
const attributesOf = async (name: string) =>
  (await traces.spans()).find((span) => span.name === name)?.attributes;
/** Whether a trace that chance has not chosen is kept. */
async function isKeptAfter(work: () => Promise<unknown>): Promise<boolean> {
  traces = recordTraces(0);
  await inTrace(traces, () => work().catch(() => {}));
  return (await traces.spans()).length > 0;
}

test("each operation is a span of the work in progress, and says not whose blob it is", async () => {
  await inTrace(traces, async () => {
    await write("some text");
    await storage.stat(tenantId, blobId);
    for await (const _ of storage.list(tenantId));
    for await (const _ of await storage.read(tenantId, blobId, { start: 5 }));
    await storage.remove(tenantId, blobId);
    await storage.removeUnfinished(new Date(0));
  });
  const spans = await traces.spans();
  expect(drawTree(spans)).toEqual([
    "request",
    "  storage write",
    "  storage stat",
    "  storage list",
    "  storage read",
    "  storage remove",
    "  storage remove_unfinished",
  ]);
  expect(await attributesOf("storage write")).toEqual({
    "ectus.storage.operation": "write",
    "ectus.storage.kind": "local",
    "ectus.storage.bytes": 9,
  });
  expect(await attributesOf("storage read")).toMatchObject({ "ectus.storage.bytes": 4 });
  expect(JSON.stringify(spans.map(({ name, attributes }) => [name, attributes]))).not.toMatch(
    new RegExp(`${tenantId}|${blobId}`),
  );
});

test("a write lasts until its source has ended, and a read until its stream has closed", async () => {
  const source = new PassThrough();
  await inTrace(traces, async () => {
    const writing = storage.write(tenantId, blobId, source, { maxBytes: 10 });
    source.write("a");
    await new Promise(setImmediate);
    expect(await attributesOf("storage write")).toBeUndefined();
    source.end();
    await writing;
    const stream = await storage.read(tenantId, blobId);
    stream.resume();
    await once(stream, "close");
  });
  const spans = await traces.spans();
  expect(spans.map(({ status }) => status.code)).not.toContain(SpanStatusCode.ERROR);
  expect(drawTree(spans)).toEqual(["request", "  storage write", "  storage read"]);
});

test("a read whose reader leaves is abandoned, and keeps no trace", async () => {
  await write("text");
  const leave = async () => {
    const stream = await storage.read(tenantId, blobId);
    stream.destroy();
    await once(stream, "close");
  };
  await inTrace(traces, leave);
  expect(await attributesOf("storage read")).toMatchObject({ "error.type": "abandoned" });
  expect(await isKeptAfter(leave)).toBe(false);
  const failing = async () => {
    const stream = await storage.read(tenantId, blobId);
    stream.on("error", () => {}).destroy(new Error("the client went away"));
    await once(stream, "close").catch(() => {});
  };
  expect(await isKeptAfter(failing)).toBe(false);
});

test.each([
  ["EPIPE", "write"],
  ["ECONNRESET", "read"],
])(
  "a read that ends with its reader's socket (%s) is abandoned, and keeps no trace",
  async (code, syscall) => {
    await write("text");
    const send = async () => {
      const socket = new Writable({
        write: (_chunk, _encoding, done) => done(Object.assign(new Error("gone"), { code, syscall })),
      });
      await pipeline(await storage.read(tenantId, blobId), socket);
    };
    expect(await isKeptAfter(send)).toBe(false);
    traces = recordTraces();
    await inTrace(traces, () => send().catch(() => {}));
    await vi.waitFor(async () =>
      expect(await attributesOf("storage read")).toMatchObject({ "error.type": "abandoned" }),
    );
  },
);

test("a reader that leaves with a refusal of its own keeps no trace", async () => {
  await write("text");
  const leave = async () => {
    const stream = await storage.read(tenantId, blobId);
    stream.on("error", () => {}).destroy(new EctusError("request_too_large", { limitBytes: 3 }));
    await once(stream, "close").catch(() => {});
  };
  expect(await isKeptAfter(leave)).toBe(false);
});

test("what a client asks in vain is marked and keeps no trace", async () => {
  await inTrace(traces, () => storage.read(tenantId, blobId).catch(() => {}));
  expect(await attributesOf("storage read")).toMatchObject({ "error.type": "not_found" });
  expect(await isKeptAfter(() => storage.stat(tenantId, blobId))).toBe(false);
  expect(await isKeptAfter(() => write("too long", 3))).toBe(false);
});

test("a blob that is open is a read as long as it is open, and a fault of it has the trace kept", async () => {
  await write("some text");
  const open = storage.open as NonNullable<BlobStorage["open"]>;
  traces = recordTraces();
  await inTrace(traces, async () => {
    const reader = await open(tenantId, blobId);
    await reader.read(Buffer.alloc(4), 0);
    await reader.read(Buffer.alloc(9), 4);
    await reader.close();
  });
  expect(drawTree(await traces.spans())).toEqual(["request", "  storage read"]);
  expect(await attributesOf("storage read")).toMatchObject({ "ectus.storage.bytes": 9 });
  expect(await isKeptAfter(() => open(tenantId, newUuid()))).toBe(false);
  expect(await isKeptAfter(() => open("../x", blobId))).toBe(true);
  const broken = Object.assign(new Error("EIO: i/o error, read"), { code: "EIO", syscall: "read" });
  const breaking = traceStorage(
    {
      ...storage,
      open: async () => ({ bytes: 9, read: () => Promise.reject(broken), close: async () => {} }),
    },
    "local",
  );
  const readSome = async () => {
    const reader = await (breaking.open as typeof open)(tenantId, blobId);
    await reader.read(Buffer.alloc(1), 0).finally(() => reader.close());
  };
  expect(await isKeptAfter(readSome)).toBe(true);
});

test("a fault of the storage has the trace kept", async () => {
  expect(await isKeptAfter(() => storage.remove(tenantId, "../x"))).toBe(true);
  expect(await attributesOf("storage remove")).toMatchObject({ "error.type": "storage_error" });
  const broken = new Readable({
    read() {
      this.destroy(Object.assign(new Error("EIO: i/o error, read"), { code: "EIO", syscall: "read" }));
    },
  });
  const breaking = traceStorage({ ...storage, read: async () => broken }, "local");
  const readAll = async () => {
    for await (const _ of await breaking.read(tenantId, blobId));
  };
  expect(await isKeptAfter(readAll)).toBe(true);
  expect(await attributesOf("storage read")).toMatchObject({ "error.type": "EIO" });
  expect(
    await isKeptAfter(async () => {
      for await (const _ of storage.list("../x"));
    }),
  ).toBe(true);
});
