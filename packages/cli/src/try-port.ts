// Whether a port can be listened on, asked before the slow parts of a start and by `ectus doctor`.
import { once } from "node:events";
import { createServer } from "node:net";
import { EctusError, errorMessage } from "@ectus/core";

/** Listens for a moment; returns why that is not possible, or undefined. */
export async function tryPort(host: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  const server = createServer();
  try {
    server.listen({ host, port, exclusive: true });
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

/** The error of a start whose port or address cannot be had. */
export function portError(host: string, port: number, cause: NodeJS.ErrnoException): EctusError {
  if (cause.code === "EADDRINUSE") return new EctusError("port_in_use", { port }, { cause });
  return new EctusError(
    "invalid_config",
    {
      faults: `  HOST, PORT: got ${JSON.stringify(`${host}:${port}`)}, where this user cannot listen (${errorMessage(cause)}); accepts an address of this machine, and a port from 1024 on unless the user may take lower ones`,
    },
    { cause },
  );
}
