// Finds a free TCP port on loopback. Another program may take it before it is used: whoever uses it tries again then.
import { once } from "node:events";
import { createServer } from "node:net";

export async function findFreePort(host: string): Promise<number> {
  const server = createServer();
  server.listen(0, host);
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  // Only pipes and closed servers have another kind of address.
  return typeof address === "object" && address !== null ? address.port : 0;
}
