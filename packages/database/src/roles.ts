// The two database roles: the owner of the schema and the application, which row-level security binds.
import type { ClientBase } from "pg";

/** Role that the API and its workers run their queries as. It never owns anything and cannot bypass row security. */
export const appRole = "ectus_app";
/** Role that owns the schema of an embedded database. */
export const ownerRole = "ectus_owner";

/**
 * Makes the owner and the application role of a database server that this program runs itself, with their passwords.
 *
 * @param client connected as a superuser
 */
export async function createLoginRoles(
  client: ClientBase,
  passwords: { readonly owner: string; readonly app: string },
): Promise<void> {
  await setLogin(client, ownerRole, passwords.owner, "bypassrls createrole");
  await setLogin(client, appRole, passwords.app, "nobypassrls");
  await client.query(`grant ${appRole} to ${ownerRole} with admin option`);
}

async function setLogin(
  client: ClientBase,
  role: string,
  password: string,
  attributes: string,
): Promise<void> {
  const found = await client.query("select from pg_roles where rolname = $1", [role]);
  const verb = found.rowCount === 0 ? "create" : "alter";
  await client.query(`${verb} role ${role} login ${attributes} password ${client.escapeLiteral(password)}`);
}
