// Portkey's AI gateway as a process of its own, passing on to the mock upstream.
import { dirname } from "node:path";
import { requirePeer } from "@ectus/peers";
import { findFreePort } from "../tests/free-port.ts";
import { type Running, startNode, until } from "./processes.ts";
import { benchModel } from "./requests.ts";

export interface Portkey extends Running {
  readonly port: number;
  readonly version: string;
  /** Whether it answers a request for a stream: with some later versions of its dependencies it does not. */
  streams(upstreamPort: number): Promise<boolean>;
}

const readyTimeoutMs = 30_000;

/** What a request needs to be passed on to an upstream on this machine. */
export const portkeyHeaders = (upstreamPort: number): Record<string, string> => ({
  authorization: "Bearer sk-bench",
  "x-portkey-provider": "openai",
  "x-portkey-custom-host": `http://127.0.0.1:${upstreamPort}/v1`,
});

/** @throws EctusError `peer_missing` */
export async function startPortkey(): Promise<Portkey> {
  const { files, version } = await requirePeer("portkey");
  const script = files["start-server.js"];
  const port = await findFreePort();
  const process = startNode({
    args: [script, `--port=${port}`, "--headless"],
    env: { NODE_ENV: "production" },
    cwd: dirname(script),
  });
  await until("Portkey", readyTimeoutMs, process, async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(1_000) });
    await answer.text();
    return answer.ok;
  });
  return {
    ...process,
    port,
    version,
    async streams(upstreamPort) {
      const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
        method: "POST",
        headers: { ...portkeyHeaders(upstreamPort), "content-type": "application/json" },
        body: JSON.stringify({
          model: benchModel,
          messages: [{ role: "user", content: "Hi" }],
          stream: true,
        }),
        signal: AbortSignal.timeout(readyTimeoutMs),
      });
      await answer.text();
      return answer.ok;
    },
  };
}
