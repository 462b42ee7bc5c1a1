// A plain connection for tests that look at the database from outside.
import pg from "pg";

export type Connection = pg.Client;

/** Connects. The caller ends the connection; that the server ends it is no error here. */
export async function connectTo(url: string): Promise<Connection> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  return client;
}
