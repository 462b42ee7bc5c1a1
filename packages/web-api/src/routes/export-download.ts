// Downloads of exports: the whole bag as one tar file that is made while it is sent, and single files of it. Both in
// ranges, so that a download that broke off can go on.
import type { OutgoingHttpHeaders } from "node:http";
import { Readable } from "node:stream";
import { EctusError, type Logger } from "@ectus/core";
import { type Database, type ExportPartRow, findExportPart, noteExportDownload } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import type { FastifyReply, FastifyRequest } from "fastify";
import Type from "typebox";
import type { App } from "../app.ts";
import {
  type BlobSource,
  type Chunk,
  type Piece,
  readPieces,
  sendChunks,
  withFirst,
} from "../blob-pieces.ts";
import { lastModified, type Representation, type Selection, selectBytes } from "../byte-range.ts";
import { actorOf, callerOf } from "../caller.ts";
import type { ClientSignals } from "../client-signal.ts";
import type { DownloadPlaces } from "../limits/download-places.ts";
import { loggableError } from "../loggable-error.ts";
import { noteBroken } from "../middleware/request-outcome.ts";
import { binary, otherAnswers, rangeHeaders, requestHeaders, text } from "./export-answers.ts";
import type { Bags } from "./export-bag.ts";
import { type ExportDoor, exportUuid } from "./export-door.ts";

export interface ExportDownloadOptions {
  readonly database: Database;
  readonly storage: BlobStorage;
  readonly signals: ClientSignals;
  readonly bags: Bags;
  readonly places: DownloadPlaces;
  /** How long a client may take nothing before it is cut. */
  readonly stallMs: number;
  readonly log: Logger;
}

interface Download extends Representation {
  readonly tenantId: string;
  readonly id: string;
  readonly headers: Readonly<Record<string, string>>;
  /** What the audit log says of it. */
  readonly details: Readonly<Record<string, unknown>>;
  /** What makes up a range of it, both ends included. */
  pieces(start: number, end: number): Iterable<Piece>;
}

export function addExportDownloads(app: App, door: ExportDoor, options: ExportDownloadOptions): void {
  const { database, storage, signals, bags, places, stallMs, log } = options;
  // The client's line decides how long a transfer takes.
  const config = { scope: door.scope, slowAfter: 60_000 };
  const tags = [door.tag];

  app.get(
    `${door.url}/:id/download`,
    {
      config,
      schema: {
        tags,
        summary: "Returns the whole bag of an export as a tar file; HEAD and Range work",
        params: Type.Object({ ...door.params, id: Type.String() }),
        headers: requestHeaders,
        response: {
          "2xx": binary("application/x-tar", rangeHeaders),
          ...otherAnswers,
        },
      },
    },
    async (request, reply) => {
      const tenantId = await door.tenantOf(request);
      const id = exportUuid(request.params.id);
      const bag = await bags.ready(tenantId, id);
      const layout = await bags.layOut(tenantId, id, bag);
      return answer(request, reply, {
        tenantId,
        id,
        bytes: layout.bytes,
        etag: `"${bag.digest.toString("hex")}"`,
        modifiedAt: bag.sealedAt,
        headers: {
          "content-type": "application/x-tar",
          "content-disposition": attachment(`${bag.name}.tar`),
        },
        details: { bytes: layout.bytes },
        *pieces(first, last) {
          for (const piece of layout.pieces(first, last)) {
            if (piece.kind === "bytes") yield piece.bytes;
            else {
              const { entry, start, end } = piece;
              yield { blobId: entry.blobId, bytes: entry.bytes, start, end };
            }
          }
        },
      });
    },
  );

  app.get(
    `${door.url}/:id/files/*`,
    {
      config,
      schema: {
        tags,
        summary: "Returns one file of an export's bag; HEAD and Range work",
        params: Type.Object({
          ...door.params,
          id: Type.String(),
          // What the asterisk stands for: see addDocs.
          path: Type.Optional(Type.String({ description: "Below the bag's folder, as export.json has it" })),
        }),
        headers: requestHeaders,
        response: {
          "2xx": binary("application/octet-stream", {
            ...rangeHeaders,
            "repr-digest": text("SHA-256 of the whole file (RFC 9530)"),
          }),
          ...otherAnswers,
        },
      },
    },
    async (request, reply) => {
      const tenantId = await door.tenantOf(request);
      const id = exportUuid(request.params.id);
      const bag = await bags.ready(tenantId, id);
      const { "*": path = "" } = request.params as { readonly "*"?: string };
      // Never a path of a file system: it is looked up in the database, which knows no U+0000.
      const part = path.includes("\0") ? undefined : await findExportPart(database, tenantId, id, path);
      if (part === undefined) throw new EctusError("not_found", { what: "file in this export" });
      return answer(request, reply, {
        tenantId,
        id,
        bytes: part.bytes,
        etag: `"${part.sha256.toString("hex")}"`,
        modifiedAt: bag.sealedAt,
        headers: {
          "content-type": contentTypeOf(part),
          "content-disposition": attachment(path.slice(path.lastIndexOf("/") + 1)),
          "repr-digest": `sha-256=:${part.sha256.toString("base64")}:`,
        },
        details: { file: path, bytes: part.bytes },
        pieces: (start, end) => [{ blobId: part.blob_id, bytes: part.bytes, start, end }],
      });
    },
  );

  async function answer(request: FastifyRequest, reply: FastifyReply, download: Download) {
    const { id, bytes, etag, headers } = download;
    const selection = selectBytes(request.method, request.headers, download);
    if (selection.status === 416) {
      reply.header("content-range", `bytes */${bytes}`);
      throw new EctusError("range_not_satisfiable", { bytes });
    }
    const common = {
      ...{ etag, "last-modified": lastModified(download), "accept-ranges": "bytes" },
      // It is personal, and nobody between may recode what has digests and ranges.
      "cache-control": "private, no-cache, no-transform",
    };
    // The framework leaves the Content-Length of an answer to HEAD as it is if that is a stream.
    const isHead = request.method === "HEAD";
    const nothing = isHead ? Readable.from([]) : undefined;
    if (selection.status === 304) return reply.status(304).headers(common).send(nothing);
    const { status, start, end } = selection;
    const all = {
      ...common,
      ...headers,
      "x-content-type-options": "nosniff",
      "content-length": String(end - start + 1),
      ...(status === 206 ? { "content-range": `bytes ${start}-${end}/${bytes}` } : {}),
    };
    if (isHead) return reply.headers(all).send(nothing);
    const signal = signals.of(reply);
    signal.throwIfAborted();
    // Until the client has taken the last of it, or has left.
    reply.raw.once("close", places.take(callerOf(request).tenantId));
    const chunks = await begin(request, download, selection, signal);
    reply.status(status).headers(all).hijack();
    await send(reply, id, chunks, signal);
    return reply;
  }

  /** Reads the first bytes and notes it: what fails until then is an error as all others. */
  async function begin(
    request: FastifyRequest,
    { tenantId, id, details, pieces }: Download,
    { status, start, end }: Extract<Selection, { readonly status: 200 | 206 }>,
    signal: AbortSignal,
  ): Promise<AsyncIterableIterator<Chunk>> {
    const source: BlobSource = {
      open: storage.open && ((blobId) => found(tenantId, id, storage.open?.(tenantId, blobId))),
      stream: (blobId, range) => found(tenantId, id, storage.read(tenantId, blobId, range)),
    };
    const chunks = await withFirst(readPieces(end < start ? [] : pieces(start, end), source, signal));
    try {
      // Each range too: one that goes on with a download is not told from one that leaves out the first byte.
      const range = status === 206 ? { range: `${start}-${end}` } : {};
      await noteExportDownload(database, tenantId, id, { ...details, ...range }, actorOf(request));
      return chunks;
    } catch (error) {
      await chunks.return?.();
      throw error;
    }
  }

  async function send(
    reply: FastifyReply,
    id: string,
    chunks: AsyncIterableIterator<Chunk>,
    signal: AbortSignal,
  ): Promise<void> {
    const response = reply.raw;
    // Any progress starts this anew; a client that takes nothing holds a file open. Where nothing waits for the client,
    // it is the storage that is slow, which has bounds of its own.
    response.setTimeout(stallMs, () => {
      if (response.writableLength > 0) response.destroy();
    });
    try {
      response.writeHead(reply.statusCode, reply.getHeaders() as OutgoingHttpHeaders);
      await sendChunks(response, chunks, signal);
    } catch (error) {
      const { code, status } = error instanceof EctusError ? error : { code: "storage_error", status: 500 };
      if (code !== "client_closed_request" && !response.destroyed) {
        const fields = { ...loggableError(error), exportId: id };
        if (status >= 500) log.error(fields, "a download of an export broke off");
        else log.info(fields, "an export went away while it was downloaded");
        noteBroken(response, code, status);
      }
      // Never an end that could be taken for that of the whole.
      response.destroy();
    }
  }

  async function found<T>(tenantId: string, id: string, opening: Promise<T> | undefined): Promise<T> {
    try {
      return (await opening) as T;
    } catch (error) {
      if (!(error instanceof EctusError && error.code === "not_found")) throw error;
      // The export may have been deleted a moment ago; if not, a part was lost, which is no fault of the client.
      await bags.ready(tenantId, id);
      throw new EctusError(
        "storage_error",
        { reason: "a stored file of this export is missing" },
        { cause: error },
      );
    }
  }
}

/** Files of the tenant's may be anything, and say nothing of themselves here. */
function contentTypeOf({ kind, path }: ExportPartRow): string {
  const extension = kind === "file" ? "" : path.slice(path.lastIndexOf(".") + 1);
  switch (extension) {
    case "json":
      return "application/json";
    case "ndjson":
      return "application/x-ndjson";
    case "csv":
      return "text/csv; charset=utf-8";
    case "txt":
      return "text/plain; charset=utf-8";
    default:
      return "application/octet-stream";
  }
}

/** Names in a bag are of these characters; if they ever were not, no header breaks. */
const attachment = (filename: string): string =>
  `attachment; filename="${filename.replace(/[^\w.-]/g, "_")}"`;
