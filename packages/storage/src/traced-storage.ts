// A storage whose operations are spans of the work in progress. They say nothing of whose blob it is, nor which.
import type { Readable } from "node:stream";
import { EctusError } from "@ectus/core";
import { errorTypeOf, type Span, type SpanTemplate, startSpan } from "@ectus/monitoring";
import { SpanKind } from "@opentelemetry/api";
import type { BlobReader, BlobStorage } from "./storage.ts";

/** @param kind of storage, in a word */
export function traceStorage(storage: BlobStorage, kind: string): BlobStorage {
  const template = (operation: string): SpanTemplate => ({
    name: `storage ${operation}`,
    kind: SpanKind.INTERNAL,
    attributes: { "ectus.storage.operation": operation, "ectus.storage.kind": kind },
  });
  const templates = {
    write: template("write"),
    read: template("read"),
    stat: template("stat"),
    remove: template("remove"),
    list: template("list"),
    removeUnfinished: template("remove_unfinished"),
  };

  /** Its span is that of a read, as long as it is open. */
  async function openTraced(tenantId: string, blobId: string): Promise<BlobReader> {
    const span = startSpan(templates.read);
    try {
      const reader = await (storage as Required<BlobStorage>).open(tenantId, blobId);
      return span === undefined ? reader : traceReader(reader, span);
    } catch (error) {
      fail(span, error);
      span?.end();
      throw error;
    }
  }

  return {
    write: (tenantId, blobId, source, options) =>
      traced(templates.write, async (span) => {
        const digest = await storage.write(tenantId, blobId, source, options);
        span?.setAttribute(bytesAttribute, digest.bytes);
        return digest;
      }),

    async read(tenantId, blobId, range) {
      const span = startSpan(templates.read);
      try {
        const stream = await storage.read(tenantId, blobId, range);
        if (span !== undefined) endWith(stream, span);
        return stream;
      } catch (error) {
        fail(span, error);
        span?.end();
        throw error;
      }
    },

    ...(storage.open === undefined ? {} : { open: openTraced }),

    stat: (tenantId, blobId) => traced(templates.stat, () => storage.stat(tenantId, blobId)),

    remove: (tenantId, blobId) => traced(templates.remove, () => storage.remove(tenantId, blobId)),

    // As long as its reader takes.
    async *list(tenantId) {
      const span = startSpan(templates.list);
      try {
        yield* storage.list(tenantId);
      } catch (error) {
        fail(span, error);
        throw error;
      } finally {
        span?.end();
      }
    },

    removeUnfinished: (before) => traced(templates.removeUnfinished, () => storage.removeUnfinished(before)),
  };
}

const bytesAttribute = "ectus.storage.bytes";

async function traced<T>(template: SpanTemplate, work: (span: Span | undefined) => Promise<T>): Promise<T> {
  const span = startSpan(template);
  try {
    return await work(span);
  } catch (error) {
    fail(span, error);
    throw error;
  } finally {
    span?.end();
  }
}

function traceReader(reader: BlobReader, span: Span): BlobReader {
  let bytesRead = 0;
  return {
    bytes: reader.bytes,
    async read(into, position) {
      try {
        const got = await reader.read(into, position);
        bytesRead += got;
        return got;
      } catch (error) {
        fail(span, error);
        throw error;
      }
    },
    async close() {
      span.setAttribute(bytesAttribute, bytesRead);
      span.end();
      await reader.close();
    },
  };
}

/** Ends a span when a stream has closed: read to its end, left, or broken. */
function endWith(stream: Readable, span: Span): void {
  stream.once("close", () => {
    const { bytesRead } = stream as { readonly bytesRead?: unknown };
    if (typeof bytesRead === "number") span.setAttribute(bytesAttribute, bytesRead);
    const error = stream.errored;
    if (isFault(error)) fail(span, error);
    else if (error !== null || !stream.readableEnded) span.fail("abandoned");
    span.end();
  });
}

/** The trace is kept when it is the storage that failed, and not who asked for what it cannot do. */
function fail(span: Span | undefined, error: unknown): void {
  if (isFault(error)) span?.keep("error");
  span?.fail(errorTypeOf(error));
}

/** Whether the storage failed. Who reads a stream may destroy it with an error of their own, as that of a socket. */
function isFault(error: unknown): boolean {
  if (error instanceof EctusError) return error.status >= 500;
  if (!(error instanceof Error)) return false;
  const { syscall, code } = error as NodeJS.ErrnoException;
  return syscall === "read" && code !== "ECONNRESET" && code !== "ETIMEDOUT";
}
