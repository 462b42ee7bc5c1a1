// Health: `live` says that the process runs, `ready` that it can answer requests, with the reason if not.
import { EctusError } from "@ectus/core";
import type { App } from "../app.ts";

interface ReadyCheck {
  readonly name: string;
  /** Resolves when it is well; rejects with the reason. */
  readonly check: () => Promise<void>;
}

interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  readonly reason?: string;
}

const checkTimeoutMs = 2_000;

export function addHealth(app: App, checks: readonly ReadyCheck[]): void {
  const schema = { tags: ["Health"], security: [] };
  let running: Promise<CheckResult[]> | undefined;
  app.get("/health/live", { schema: { ...schema, summary: "The process runs" } }, () => ({ status: "live" }));
  app.get(
    "/health/ready",
    { schema: { ...schema, summary: "Requests can be answered" } },
    async (_request, reply) => {
      // Whoever asks at the same time shares the answer: nobody needs a key here.
      running ??= Promise.all(checks.map(runCheck)).finally(() => {
        running = undefined;
      });
      const results = await running;
      const ready = results.every(({ ok }) => ok);
      return reply.status(ready ? 200 : 503).send({ status: ready ? "ready" : "not ready", checks: results });
    },
  );
}

async function runCheck({ name, check }: ReadyCheck): Promise<CheckResult> {
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => timeout.reject(new EctusError("check_timeout", { timeoutMs: checkTimeoutMs })),
    checkTimeoutMs,
  );
  try {
    await Promise.race([check(), timeout.promise]);
    return { name, ok: true };
  } catch (error) {
    return { name, ok: false, reason: error instanceof EctusError ? error.message : "failed" };
  } finally {
    clearTimeout(timer);
  }
}
