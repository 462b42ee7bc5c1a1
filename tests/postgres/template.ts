// The migrated database that every test database is cloned from, and the roles that tests connect as.
import type { Logger } from "@ectus/core";
import { appRole, createLoginRoles, migrate, ownerRole } from "@ectus/database";
import pg from "pg";

export const templateDatabase = "ectus_template";

interface Login {
  readonly role: string;
  readonly password: string;
}

/** As whom tests connect. The owner passes row security, the app must not. */
export const owner: Login = { role: ownerRole, password: "test-owner" };
export const app: Login = { role: appRole, password: "test-app" };

/** Makes the roles and the template. Nobody may be connected to the template when this ends, or it cannot be cloned. */
export async function prepareTemplate(superuserUrl: string, log: Logger): Promise<void> {
  const client = new pg.Client({ connectionString: superuserUrl });
  await client.connect();
  try {
    await createLoginRoles(client, { owner: owner.password, app: app.password });
    await client.query(`CREATE DATABASE ${templateDatabase} OWNER ${ownerRole}`);
    await migrate({ url: urlAs(superuserUrl, owner, templateDatabase), log });
    // Refuses connections, so that no test can change it or be in the way of a clone.
    await client.query(`ALTER DATABASE ${templateDatabase} WITH ALLOW_CONNECTIONS false IS_TEMPLATE true`);
  } finally {
    await client.end();
  }
}

/** URL of `database` on the same server for another login. */
export function urlAs(superuserUrl: string, { role, password }: Login, database: string): string {
  const url = new URL(superuserUrl);
  url.username = role;
  url.password = password;
  url.pathname = `/${database}`;
  return url.href;
}
