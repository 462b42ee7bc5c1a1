// Jobs and schedules through pg-boss, whose queries pass through the same place as all others.
import type { Logger } from "@ectus/core";
import { PgBoss } from "pg-boss";
import type { Database } from "./database.ts";

/** Schema that pg-boss keeps its tables in. */
export const jobSchema = "pgboss";

export interface JobDefinition {
  readonly name: string;
  /** When it runs, as a cron expression in UTC. */
  readonly cron: string;
  /** Does the work and returns what is worth a log line. */
  readonly run: (signal: AbortSignal) => Promise<Record<string, unknown>>;
}

/** Runs scheduled jobs; each run happens on one instance, whichever takes it. */
export interface Jobs {
  /** Lets running jobs end, at most 10 s, and takes no more. */
  stop(): Promise<void>;
}

export async function startJobs(options: {
  readonly database: Database;
  readonly definitions: readonly JobDefinition[];
  readonly log: Logger;
}): Promise<Jobs> {
  const { database, definitions, log } = options;
  const boss = new PgBoss({
    db: {
      executeSql: async (text, values) => ({
        rows: await database.run({ text, values: values ?? [], operation: "job" }),
      }),
    },
    schema: jobSchema,
    migrate: false,
    // The application's role owns no index, so it can neither rebuild them nor judge vacuum.
    reindex: false,
    monitorVacuum: false,
  });
  boss.on("error", (error) => log.error({ err: error }, "job queue failed"));
  await boss.start();
  for (const { name, cron, run } of definitions) {
    await boss.createQueue(name, {
      policy: "singleton",
      retryLimit: 3,
      retryDelay: 30,
      expireInSeconds: 900,
    });
    await boss.schedule(name, cron, null, { tz: "UTC" });
    await boss.work(name, { pollingIntervalSeconds: 10 }, async ([job]) => {
      if (job === undefined) return;
      const started = performance.now();
      const result = await run(job.signal);
      log.info({ job: name, durationMs: Math.round(performance.now() - started), ...result }, "job done");
    });
  }
  return { stop: () => boss.stop({ graceful: true, timeout: 10_000 }) };
}
