// The address of a server that runs here, as a client reaches it.

const everyAddress = new Set(["0.0.0.0", "::", "::0"]);

/** The server's URL as a client reaches it: one that listens on a single address answers only there. */
export function clientUrl(host: string, serverUrl: string): string {
  if (everyAddress.has(host)) return serverUrl;
  const url = new URL(serverUrl);
  url.hostname = host.includes(":") ? `[${host}]` : host;
  return url.origin;
}
