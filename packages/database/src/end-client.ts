// The end of a connection that is not of the pool.
import type { Duplex } from "node:stream";
import type pg from "pg";

const endTimeoutMs = 1_000;

/** Says goodbye, and cuts the connection if that is not answered. */
export async function endClient(client: pg.Client): Promise<void> {
  const cut = setTimeout(() => cutClient(client), endTimeoutMs);
  cut.unref();
  // A connection that has failed cannot say goodbye.
  await client.end().catch(() => {});
  clearTimeout(cut);
}

// pg has no other way to end a connection whose peer is silent.
export function cutClient(client: pg.Client): void {
  (client as unknown as { readonly connection?: { readonly stream?: Duplex } }).connection?.stream?.destroy();
}
