// The two ways to exports: a tenant's own with its admin key, and any tenant's with the operator's.
import { EctusError } from "@ectus/core";
import { type Database, getTenant, type Scope } from "@ectus/database";
import type { FastifyRequest } from "fastify";
import Type from "typebox";
import { callerOf } from "../caller.ts";
import { isUuid, parsePublicId } from "../public-ids.ts";

export interface ExportDoor {
  /** As the router has it. */
  readonly url: string;
  readonly scope: Scope;
  readonly tag: string;
  /** What the URL has besides the export's own parameters. */
  readonly params: Readonly<Record<string, Type.TString>>;
  /** As a client asks for it. */
  path(tenantId: string): string;
  /** Whose exports these are. @throws EctusError `not_found` */
  tenantOf(request: FastifyRequest): Promise<string>;
}

export function exportDoors(database: Database): readonly ExportDoor[] {
  return [
    {
      url: "/v1/exports",
      scope: "admin",
      tag: "Exports",
      params: {},
      path: () => "/v1/exports",
      tenantOf: async (request) => callerOf(request).tenantId,
    },
    {
      // Also of a tenant that is suspended, whose own keys are refused.
      url: "/admin/tenants/:tenantId/exports",
      scope: "operator",
      tag: "Operator",
      params: { tenantId: Type.String() },
      path: (tenantId) => `/admin/tenants/${tenantId}/exports`,
      async tenantOf(request) {
        const { tenantId } = request.params as { readonly tenantId: string };
        if (!isUuid(tenantId)) throw new EctusError("not_found", { what: "tenant", id: tenantId });
        return (await getTenant(database, tenantId)).id;
      },
    },
  ];
}

export const exportNotFound = (id: string): EctusError => new EctusError("not_found", { what: "export", id });

/** The UUID of an export's public id. @throws EctusError `not_found` */
export function exportUuid(id: string): string {
  const uuid = parsePublicId("export-", id);
  if (uuid === undefined) throw exportNotFound(id);
  return uuid;
}
