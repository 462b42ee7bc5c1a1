// The settings of a session that its URL carries, the role above all.
import { EctusError } from "@ectus/core";
import type pg from "pg";
import { appRole } from "./roles.ts";

/** The URL with options of the session added; a URL's own would otherwise replace them, the role with them. */
export function withSessionOptions(url: string, options: readonly string[]): string {
  const changed = new URL(url);
  const own = changed.searchParams.get("options");
  changed.searchParams.set("options", [...(own === null ? [] : [own]), ...options].join(" "));
  return changed.href;
}

/** Rejects when the session has not got its role: a pooler may drop its options, and row security must not hang on that. */
export async function checkRole(client: pg.ClientBase, query_timeout: number): Promise<void> {
  const query = { text: "select current_user as role", query_timeout };
  const { rows } = await client.query(query);
  if (rows[0].role !== appRole) {
    throw new EctusError("schema_mismatch", {
      reason: `the session runs as ${rows[0].role} and not as ${appRole}. Let DATABASE_URL log in as ${appRole}, or connect without a pooler that drops session options.`,
    });
  }
}
