// Locks a table as a migration or a job does that runs for too long.
import pg from "pg";

export interface TableLock {
  /** Ends the transaction that holds it. */
  readonly release: () => Promise<void>;
}

/** Resolves when nobody else can read or write the table. */
export async function holdLock(url: string, table: string): Promise<TableLock> {
  const client = new pg.Client({ connectionString: url, application_name: "drill" });
  // A server that is stopped under it has ended the lock, too.
  client.on("error", () => {});
  await client.connect();
  let released: Promise<void> | undefined;
  const release = (): Promise<void> => {
    released ??= client.end();
    return released;
  };
  try {
    await client.query("begin");
    await client.query(`lock table ${client.escapeIdentifier(table)} in access exclusive mode`);
    return { release };
  } catch (error) {
    await release();
    throw error;
  }
}
