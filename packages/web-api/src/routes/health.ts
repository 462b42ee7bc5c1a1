// Health: `live` says that the process runs, `ready` that it can answer requests, with the reason if not.
import type { App } from "../app.ts";

export interface ReadyCheck {
  readonly name: string;
  /** Resolves when it is well; rejects with the reason. */
  readonly check: () => Promise<void>;
}

const checkTimeoutMs = 2_000;

export function addHealth(app: App, checks: readonly ReadyCheck[]): void {
  const schema = { tags: ["Health"] };
  app.get("/health/live", { schema: { ...schema, summary: "The process runs" } }, () => ({ status: "live" }));
  app.get(
    "/health/ready",
    { schema: { ...schema, summary: "Requests can be answered" } },
    async (_request, reply) => {
      const results = await Promise.all(checks.map(runCheck));
      const ready = results.every(({ ok }) => ok);
      return reply.status(ready ? 200 : 503).send({ status: ready ? "ready" : "not ready", checks: results });
    },
  );
}

async function runCheck({
  name,
  check,
}: ReadyCheck): Promise<{ name: string; ok: boolean; reason?: string }> {
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => timeout.reject(new Error(`no answer within ${checkTimeoutMs} ms`)),
    checkTimeoutMs,
  );
  try {
    await Promise.race([check(), timeout.promise]);
    return { name, ok: true };
  } catch (error) {
    return { name, ok: false, reason: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
}
