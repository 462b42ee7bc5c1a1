// Jobs and schedules through pg-boss, whose queries pass through the same place as all others. Each run is a trace of
// its own, linked to the request that asked for it.
import { currentContext, type Logger } from "@ectus/core";
import { noTracing, type Tracing } from "@ectus/monitoring";
import { type Job, PgBoss } from "pg-boss";
import type { Database } from "./database.ts";
import { jobData } from "./job-origin.ts";
import { jobTemplate, runJob } from "./job-run.ts";

/** Schema that pg-boss keeps its tables in. */
export const jobSchema = "pgboss";

export interface JobDefinition {
  readonly name: string;
  /** When it runs, as a cron expression in UTC. */
  readonly cron: string;
  /** Does the work and returns what is worth a log line. A run that fails is tried again, at most three times. */
  readonly run: (signal: AbortSignal) => Promise<Record<string, unknown>>;
}

/** Runs scheduled jobs; each run happens on one instance, whichever takes it. */
export interface Jobs {
  /**
   * Asks for a run now, unless one is waiting already. The run has the correlation id and the request id of the request
   * in progress on its log lines, and its trace is linked to that of the request.
   */
  trigger(name: string): Promise<void>;
  /** Lets running jobs end, at most `graceMs` (10,000 by default, 1,000 at least), and takes no more. */
  stop(graceMs?: number): Promise<void>;
}

export interface JobsOptions {
  readonly database: Database;
  readonly definitions: readonly JobDefinition[];
  readonly log: Logger;
  /** Where runs are traced; nowhere by default. */
  readonly tracing?: Tracing;
  /** How often an instance looks for work; 10 by default, 0.5 at least. */
  readonly pollSeconds?: number;
  /** Pause before a failed run is tried again; 30 by default. */
  readonly retryDelaySeconds?: number;
}

const retryLimit = 3;
const expireInSeconds = 900;
const defaultGraceMs = 10_000;

export async function startJobs(options: JobsOptions): Promise<Jobs> {
  const { database, definitions, log, tracing = noTracing } = options;
  const { pollSeconds = 10, retryDelaySeconds = 30 } = options;
  const boss = new PgBoss({
    db: {
      executeSql: async (text, values) => ({
        rows: await database.run({ text, values: values ?? [], operation: "job", table: "jobs" }),
      }),
    },
    schema: jobSchema,
    migrate: false,
    // The application's role owns no index, so it can neither rebuild them nor judge vacuum.
    reindex: false,
    monitorVacuum: false,
  });
  boss.on("error", (error) => log.error({ err: error }, "job queue failed"));
  try {
    await boss.start();
    for (const definition of definitions) await add(definition);
  } catch (error) {
    await boss.stop({ graceful: false });
    throw error;
  }

  async function add({ name, cron, run }: JobDefinition): Promise<void> {
    const settings = { retryLimit, retryDelay: retryDelaySeconds, expireInSeconds };
    // At most one run waits and one is at work: a tick that finds one waiting adds nothing.
    await boss.createQueue(name, { policy: "stately", ...settings });
    // One that an earlier version made keeps its settings otherwise.
    await boss.updateQueue(name, settings);
    await boss.schedule(name, cron, null, { tz: "UTC" });
    const template = jobTemplate(name);
    await boss.work(name, { pollingIntervalSeconds: pollSeconds }, async ([job]) => {
      if (job === undefined) return;
      const { id, data, retryCount } = job;
      await runJob({ tracing, template, id, origin: data, retryCount }, () => perform(job, run));
    });
  }

  async function perform(job: Job<unknown>, run: JobDefinition["run"]): Promise<void> {
    const { name } = job;
    const started = performance.now();
    const durationMs = (): number => Math.round(performance.now() - started);
    try {
      const result = await run(job.signal);
      log.info({ job: name, durationMs: durationMs(), ...result }, "job done");
    } catch (error) {
      log.error({ job: name, durationMs: durationMs(), err: error }, "job failed");
      throw error;
    }
  }

  return {
    trigger: async (name) => {
      const context = currentContext();
      await boss.send(name, context === undefined ? null : jobData(context));
    },
    stop: (graceMs = defaultGraceMs) => boss.stop({ graceful: true, timeout: graceMs }),
  };
}
