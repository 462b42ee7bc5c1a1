import { spawn } from "node:child_process";
import { once } from "node:events";
import { createOpenAiProvider } from "./src/providers/openai/index.ts";
import { createEngine } from "./src/engine.ts";
import { Pool } from "undici";
const child = spawn(process.execPath, ["/tmp/up_child.ts"], { stdio: ["ignore", "pipe", "inherit"] });
const baseUrl = String((await once(child.stdout!, "data"))[0]).trim();
const log: any = { warn() {}, info() {} };
const opts = { type: "openai" as const, baseUrl, apiKey: "sk-test-123", headers: {}, timeoutMs: 5000, streamIdleTimeoutMs: 1000, retries: 2, maxConcurrent: 256, queue: 512 };
const p = createOpenAiProvider({ ...opts, name: "up", log });
const engine = createEngine({ config: { providers: new Map([["up", opts]]), models: new Map([["m", { operations: ["chat"], contextTokens: undefined, maxOutputTokens: undefined, price: undefined, ownedBy: undefined, routes: [{ provider: "up", model: "m" }] }]]) }, providers: new Map([["up", p]]), log });
const req = { model: "m", messages: [{ role: "user" as const, content: "hi ".repeat(50) }] };
const pool = new Pool(new URL(baseUrl).origin, { connections: 64 });
const body = JSON.stringify(req);
const kinds: Record<string, () => Promise<unknown>> = {
  "undici request()": async () => JSON.parse(await (await pool.request({ path: "/v1/chat/completions", method: "POST", body, headers: { "content-type": "application/json" } })).body.text()),
  "fetch": async () => (await fetch(`${baseUrl}/chat/completions`, { method: "POST", body, headers: { "content-type": "application/json" } })).json(),
  "provider.chat": () => p.chat(req, { signal: new AbortController().signal, correlationId: "abc" }),
  "engine.chat": () => engine.chat(req, { signal: new AbortController().signal, correlationId: "abc" }),
  "engine.streamChat": async () => { const s = await engine.streamChat(req, { signal: new AbortController().signal }); for await (const _ of s.chunks); },
};
for (const c of [1, 16, 64]) for (let round = 0; round < 3; round++) for (const [name, call] of Object.entries(kinds)) {
  const n = 6000; let left = n;
  const cpu = process.cpuUsage(); const t = performance.now();
  await Promise.all(Array.from({ length: c }, async () => { while (left-- > 0) await call(); }));
  const used = process.cpuUsage(cpu);
  if (round > 0) console.log(c, name.padEnd(20), "cpu us/call", ((used.user + used.system) / n).toFixed(1), "wall us/call", ((performance.now() - t) * 1000 / n).toFixed(1));
}
await engine.close(); await pool.close(); child.kill();
