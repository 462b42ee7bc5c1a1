// The tenant that a person means: by id, or by a name that only one tenant has.
import { EctusError } from "@ectus/core";
import type { Database, TenantRecord } from "@ectus/database";

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const mostShown = 5;

/** Whether a text is an id of a tenant or a key, in its canonical form. */
export const isId = (text: string): boolean => uuidPattern.test(text);

/** @throws EctusError `not_found`, or `conflict` when several tenants have the name */
export async function findTenant(database: Database, idOrName: string): Promise<TenantRecord> {
  // Only here: clients of the API need the rest of this file, and no database.
  const { findTenantsByName, getTenant } = await import("@ectus/database");
  if (isId(idOrName)) return getTenant(database, idOrName);
  return onlyTenant(await findTenantsByName(database, idOrName, mostShown + 1), idOrName);
}

/** The one of those that have the name; throws as `findTenant` does. */
export function onlyTenant<Found extends { readonly id: string }>(
  found: readonly Found[],
  name: string,
): Found {
  const [tenant] = found;
  if (tenant === undefined) throw new EctusError("not_found", { what: "tenant", id: name });
  if (found.length > 1) {
    const ids = found.slice(0, mostShown).map(({ id }) => id);
    const more = found.length > mostShown ? " and more" : "";
    throw new EctusError("conflict", {
      reason: `More than one tenant is called '${name}': ${ids.join(", ")}${more}. Name the one that is meant by its id.`,
    });
  }
  return tenant;
}
