// Exports of a tenant's data: asked for here, made by a worker, looked after and downloaded here.
import type { Logger } from "@ectus/core";
import {
  createExport,
  type Database,
  deleteExport,
  type ExportRow,
  findExport,
  listExports,
} from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import Type from "typebox";
import type { App } from "../app.ts";
import { actorOf } from "../caller.ts";
import type { ClientSignals } from "../client-signal.ts";
import { createDownloadPlaces } from "../limits/download-places.ts";
import { publicId } from "../public-ids.ts";
import { errorAnswers, Page, pageQuery, toPage } from "../schemas.ts";
import { type Bags, createBags } from "./export-bag.ts";
import { ExportBody, ExportHeaders, readIdempotencyKey, readScope } from "./export-body.ts";
import { type ExportDoor, exportDoors, exportNotFound, exportUuid } from "./export-door.ts";
import { addExportDownloads } from "./export-download.ts";
import { ExportAnswer, toExport } from "./export-object.ts";
import { removeUnnamed } from "./remove-unnamed.ts";

export interface ExportsOptions {
  readonly database: Database;
  readonly storage: BlobStorage;
  readonly signals: ClientSignals;
  /** How long a client may take nothing of a download before it is cut. */
  readonly stallMs: number;
  readonly log: Logger;
}

/** One that runs, and one after it: each reads all that a tenant has, so that more would only take from others. */
const mostUnfinished = 2;

const DeletedExport = Type.Object({
  id: Type.String(),
  object: Type.Literal("export"),
  deleted: Type.Literal(true),
});
const answers = <T extends Type.TSchema>(schema: T) => ({ "2xx": schema, ...errorAnswers });

export function addExports(app: App, options: ExportsOptions): void {
  const bags = createBags(options.database);
  const places = createDownloadPlaces();
  for (const door of exportDoors(options.database)) {
    addManagement(app, door, { ...options, bags });
    addExportDownloads(app, door, { ...options, bags, places });
  }
}

function addManagement(app: App, door: ExportDoor, options: ExportsOptions & { readonly bags: Bags }): void {
  const { database, storage, bags, log } = options;
  const config = { scope: door.scope };
  const tags = [door.tag];
  const params = Type.Object({ ...door.params, id: Type.String() });
  const show = async (row: ExportRow) => toExport(row, await bags.sizeOf(row), new Date());

  app.post(
    door.url,
    {
      config,
      schema: {
        tags,
        summary: "Asks for an export; a body is not needed",
        params: Type.Object(door.params),
        headers: ExportHeaders,
        body: ExportBody,
        response: answers({
          ...ExportAnswer,
          headers: { location: { type: "string", description: "Where the export is" } },
        }),
      },
      // Everything in the body can be left out, and so can the body.
      preValidation: (request, _reply, done) => {
        if (request.body === undefined) request.body = {};
        done();
      },
    },
    async (request, reply) => {
      const { format = "ndjson", compression = "zstd", scope } = request.body;
      const tenantId = await door.tenantOf(request);
      const row = await createExport(
        database,
        {
          tenantId,
          rowFormat: format,
          compression,
          scope: readScope(scope),
          mostUnfinished,
          ...readIdempotencyKey(request.headers["idempotency-key"]),
        },
        actorOf(request),
      );
      return reply
        .status(202)
        .header("location", `${door.path(tenantId)}/${publicId("export-", row.id)}`)
        .send(await show(row));
    },
  );

  app.get(
    door.url,
    {
      config,
      schema: {
        tags,
        summary: "Lists exports",
        params: Type.Object(door.params),
        querystring: Type.Object(pageQuery(100, 20)),
        response: answers(Page(ExportAnswer)),
      },
    },
    async (request) => {
      const { limit, order, after } = request.query;
      const rows = await listExports(database, await door.tenantOf(request), {
        limit: limit + 1,
        order,
        ...(after === undefined ? {} : { after: exportUuid(after) }),
      });
      const shown = [];
      // One after the other: a long list must not take all connections to the database.
      for (const row of rows) shown.push(await show(row));
      return toPage(shown, limit);
    },
  );

  app.get(
    `${door.url}/:id`,
    {
      config,
      schema: {
        tags,
        summary: "Shows an export: its state, how far it is, and its bag when it is ready",
        params,
        response: answers(ExportAnswer),
      },
    },
    async (request) => {
      const { id } = request.params;
      const row = await findExport(database, await door.tenantOf(request), exportUuid(id));
      if (row === undefined) throw exportNotFound(id);
      return show(row);
    },
  );

  app.delete(
    `${door.url}/:id`,
    {
      config,
      schema: {
        tags,
        summary: "Cancels an export that is not finished, and removes what there is of it",
        params,
        response: answers(DeletedExport),
      },
    },
    async (request) => {
      const { id } = request.params;
      const tenantId = await door.tenantOf(request);
      const blobs = await deleteExport(database, tenantId, exportUuid(id), actorOf(request));
      if (blobs === undefined) throw exportNotFound(id);
      await removeUnnamed(storage, tenantId, blobs, log);
      return { id, object: "export" as const, deleted: true as const };
    },
  );
}
