// A tenant's files: uploaded as multipart/form-data, kept in the storage, described in the database.

import type { Readable } from "node:stream";
import { EctusError, type Logger, newUuid } from "@ectus/core";
import { type Database, deleteFile, type FileRow, getFile, insertFile, listFiles } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import type { MultipartFile } from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import Type from "typebox";
import type { App } from "../app.ts";
import { actorOf, callerOf } from "../caller.ts";
import type { ClientSignals } from "../client-signal.ts";
import { loggableError } from "../loggable-error.ts";
import { noteBroken } from "../middleware/request-outcome.ts";
import { parsePublicId, publicId } from "../public-ids.ts";
import { errorAnswers, Page, pageQuery, toPage } from "../schemas.ts";
import { refuseUnstorable } from "../storable-text.ts";

/** OpenAI's limit for one file. */
export const defaultMaxFileBytes = 512 * 1024 * 1024;
// Boundaries, headers and the other fields of the form.
const formOverheadBytes = 64 * 1024;
const mostFilenameCharacters = 255;
const purposes = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"] as const;
const IdParams = Type.Object({ id: Type.String() });
const File = Type.Object({
  id: Type.String(),
  object: Type.Literal("file"),
  bytes: Type.Integer(),
  created_at: Type.Integer({ description: "Seconds since 1970" }),
  filename: Type.String(),
  purpose: Type.String(),
  status: Type.Literal("processed"),
});
const DeletedFile = Type.Object({
  id: Type.String(),
  object: Type.Literal("file"),
  deleted: Type.Literal(true),
});
const response = { "2xx": File, ...errorAnswers };
const config = { scope: "inference" } as const;
// The client's line decides how long a transfer takes.
const transferConfig = { ...config, slowAfter: 60_000 } as const;

export interface FilesOptions {
  readonly database: Database;
  readonly storage: BlobStorage;
  readonly signals: ClientSignals;
  readonly maxFileBytes: number;
  readonly log: Logger;
}

interface Upload {
  readonly filename: string;
  readonly contentType: string;
  readonly bytes: number;
  readonly sha256: string;
}

export function addFiles(app: App, options: FilesOptions): void {
  const { database, storage, signals, maxFileBytes, log } = options;
  const maxFormBytes = maxFileBytes + formOverheadBytes;

  app.post(
    "/v1/files",
    {
      config: transferConfig,
      bodyLimit: maxFormBytes,
      schema: {
        tags: ["Files"],
        summary: "Uploads a file (multipart/form-data with the fields `file` and `purpose`)",
        consumes: ["multipart/form-data"],
        response,
      },
    },
    async (request, reply) => {
      if (!request.isMultipart()) {
        throw new EctusError("unsupported_media_type", {
          got: request.headers["content-type"],
          accepts: "multipart/form-data",
        });
      }
      // The parser of forms does not look at it.
      if (Number(request.headers["content-length"]) > maxFormBytes) {
        throw new EctusError("request_too_large", { limitBytes: maxFileBytes });
      }
      const { tenantId } = callerOf(request);
      const id = newUuid();
      try {
        const { upload, purpose } = await readForm(request, (part) =>
          store(part, tenantId, id, signals.of(reply)),
        );
        const row = await insertFile(
          database,
          {
            tenant_id: tenantId,
            id,
            filename: upload.filename,
            purpose,
            content_type: upload.contentType,
            bytes: upload.bytes,
            sha256: Buffer.from(upload.sha256, "hex"),
          },
          actorOf(request),
        );
        return toFile(row);
      } catch (error) {
        // Whether the row was committed is not known when the database went away: then the clean-up job decides.
        if (!(error instanceof EctusError && error.code === "database_unavailable"))
          await removeBlob(tenantId, id);
        throw error;
      }
    },
  );

  app.get(
    "/v1/files",
    {
      config,
      schema: {
        tags: ["Files"],
        summary: "Lists files",
        querystring: Type.Object({
          ...pageQuery(10_000, 1_000),
          purpose: Type.Optional(Type.String({ maxLength: 64 })),
        }),
        response: { "2xx": Page(File), ...errorAnswers },
      },
    },
    async (request) => {
      const { limit, order, after, purpose } = request.query;
      if (purpose !== undefined) refuseUnstorable(purpose, "purpose");
      const rows = await listFiles(database, callerOf(request).tenantId, {
        limit: limit + 1,
        order,
        ...(after === undefined ? {} : { after: uuidOf(after) }),
        ...(purpose === undefined ? {} : { purpose }),
      });
      return toPage(rows.map(toFile), limit);
    },
  );

  app.get(
    "/v1/files/:id",
    { config, schema: { tags: ["Files"], summary: "Describes a file", params: IdParams, response } },
    async (request) => toFile(await getFile(database, callerOf(request).tenantId, uuidOf(request.params.id))),
  );

  app.get(
    "/v1/files/:id/content",
    {
      config: transferConfig,
      schema: {
        tags: ["Files"],
        summary: "Returns a file's contents",
        params: IdParams,
        response: { "2xx": Type.Unsafe<Readable>(Type.String({ format: "binary" })), ...errorAnswers },
      },
    },
    async (request, reply) => {
      const { tenantId } = callerOf(request);
      const file = await getFile(database, tenantId, uuidOf(request.params.id));
      const content = await readBlob(tenantId, file.id);
      content.once("error", (error) => {
        // Before its beginning it is an error as all others; once the client is gone, it is how some streams end.
        if (!reply.raw.headersSent || reply.raw.destroyed) return;
        log.error({ ...loggableError(error), fileId: file.id }, "a file's contents broke off");
        noteBroken(reply.raw, error instanceof EctusError ? error.code : "storage_error", 500);
      });
      return reply
        .header("content-type", "application/octet-stream")
        .header("content-length", file.bytes)
        .header("content-disposition", contentDisposition(file.filename))
        .header("x-content-type-options", "nosniff")
        .send(content);
    },
  );

  app.delete(
    "/v1/files/:id",
    {
      config,
      schema: {
        tags: ["Files"],
        summary: "Deletes a file",
        params: IdParams,
        response: { "2xx": DeletedFile, ...errorAnswers },
      },
    },
    async (request) => {
      const { tenantId } = callerOf(request);
      const id = uuidOf(request.params.id);
      await deleteFile(database, tenantId, id, actorOf(request));
      await removeBlob(tenantId, id);
      return { id: request.params.id, object: "file" as const, deleted: true as const };
    },
  );

  async function store(
    part: MultipartFile,
    tenantId: string,
    id: string,
    signal: AbortSignal,
  ): Promise<Upload> {
    const filename = checkFilename(part.filename);
    const digest = await storage.write(tenantId, id, part.file, { maxBytes: maxFileBytes, signal });
    return { filename, contentType: part.mimetype.slice(0, 255), ...digest };
  }

  async function readBlob(tenantId: string, id: string): Promise<Readable> {
    try {
      return await storage.read(tenantId, id);
    } catch (error) {
      if (!(error instanceof EctusError && error.code === "not_found")) throw error;
      // It may have been deleted a moment ago; if not, contents were lost, which is no fault of the client.
      await getFile(database, tenantId, id);
      throw new EctusError(
        "storage_error",
        { reason: "the contents of this file are missing" },
        { cause: error },
      );
    }
  }

  /** A blob that cannot be removed now has no row, so the clean-up job removes it. */
  async function removeBlob(tenantId: string, id: string): Promise<void> {
    await storage
      .remove(tenantId, id)
      .catch((error) => log.warn({ err: error, fileId: id }, "a file's contents could not be removed"));
  }
}

/** Reads the fields of an upload in whatever order they come. */
async function readForm(
  request: FastifyRequest,
  store: (part: MultipartFile) => Promise<Upload>,
): Promise<{ upload: Upload; purpose: string }> {
  let upload: Upload | undefined;
  let purpose: string | undefined;
  try {
    for await (const part of request.parts()) {
      if (part.type === "file") {
        if (part.fieldname !== "file" || upload !== undefined) {
          part.file.resume();
          throw new EctusError("invalid_request", {
            param: part.fieldname,
            reason: "Send one file, in the field 'file'.",
          });
        }
        upload = await store(part);
      } else if (part.fieldname === "purpose") {
        purpose = checkPurpose(part.value);
      }
    }
  } catch (error) {
    throw isFormFault(error)
      ? new EctusError(
          "invalid_request",
          { reason: `The form cannot be read: ${error.message}.` },
          { cause: error },
        )
      : error;
  }
  if (upload === undefined)
    throw new EctusError("invalid_request", { param: "file", reason: "The field 'file' is missing." });
  if (purpose === undefined)
    throw new EctusError("invalid_request", { param: "purpose", reason: "The field 'purpose' is missing." });
  return { upload, purpose };
}

/** Whether the parser of the form threw it, which gives most of its errors no code. */
function isFormFault(error: unknown): error is Error {
  if (!(error instanceof Error) || error instanceof EctusError) return false;
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined ? error.constructor === Error : code.startsWith("FST_");
}

function checkPurpose(value: unknown): string {
  const purpose = purposes.find((known) => known === value);
  if (purpose === undefined) {
    throw new EctusError("invalid_request", {
      param: "purpose",
      reason: `The field 'purpose' accepts ${purposes.join(", ")}.`,
    });
  }
  return purpose;
}

/** A name is kept to be shown; it never becomes a path. */
function checkFilename(filename: string | undefined): string {
  if (filename === undefined || filename === "") {
    throw new EctusError("invalid_request", { param: "file", reason: "The file has no name." });
  }
  refuseUnstorable(filename, "file");
  if ([...filename].length > mostFilenameCharacters) {
    throw new EctusError("invalid_request", {
      param: "file",
      reason: `The file's name has ${[...filename].length} characters; at most ${mostFilenameCharacters} are accepted.`,
    });
  }
  return filename;
}

function uuidOf(id: string): string {
  const uuid = parsePublicId("file-", id);
  if (uuid === undefined) throw new EctusError("not_found", { what: "file", id });
  return uuid;
}

function toFile({ id, bytes, created_at, filename, purpose }: FileRow) {
  return {
    id: publicId("file-", id),
    object: "file" as const,
    bytes,
    created_at: Math.floor(created_at.getTime() / 1_000),
    filename,
    purpose,
    status: "processed" as const,
  };
}

// RFC 6266 with the extended notation of RFC 8187, which any name survives.
function contentDisposition(filename: string): string {
  const encoded = encodeURIComponent(filename.toWellFormed()).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename*=UTF-8''${encoded}`;
}
