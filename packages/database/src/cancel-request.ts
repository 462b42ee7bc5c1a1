// Asks the server to end what a connection's backend is doing, over a connection of its own as the protocol has it
// (PostgreSQL manual, section 54.2.8). SQL would not do: the application's role may not cancel a login's backends.
import type { Duplex } from "node:stream";
import pg from "pg";

// What pg's own `Client.cancel` uses, which takes no TLS.
interface RawConnection {
  readonly stream: Duplex;
  connect(port: number | string, host?: string): void;
  requestSsl(): void;
  cancel(processId: number, secretKey: number): void;
  on(event: "connect" | "sslconnect" | "end", listener: () => void): void;
  on(event: "error", listener: (error: Error) => void): void;
}

interface ClientInternals {
  readonly processID: number;
  readonly secretKey: number;
  readonly sslNegotiation: "postgres" | "direct";
}

/**
 * Resolves when the server has taken the request, or could not be reached within `timeoutMs`. It may arrive after the
 * statement has ended, and would then end the next one: the connection must not be used any more.
 */
export function sendCancelRequest(
  client: pg.Client,
  options: pg.ClientConfig,
  timeoutMs: number,
): Promise<void> {
  const { processID, secretKey } = client as unknown as ClientInternals;
  const other = new pg.Client(options);
  const { sslNegotiation } = other as unknown as ClientInternals;
  const connection = other.connection as unknown as RawConnection;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timeout = setTimeout(() => connection.stream.destroy(), timeoutMs);
  const cancel = (): void => connection.cancel(processID, secretKey);
  if (!other.ssl) connection.on("connect", cancel);
  else if (sslNegotiation !== "direct") connection.on("connect", () => connection.requestSsl());
  connection.on("sslconnect", cancel);
  // The server answers by closing.
  connection.on("end", resolve);
  connection.on("error", () => connection.stream.destroy());
  if (other.host.startsWith("/")) connection.connect(`${other.host}/.s.PGSQL.${other.port}`);
  else connection.connect(other.port, other.host);
  return promise.finally(() => clearTimeout(timeout));
}
