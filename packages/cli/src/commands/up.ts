// `ectus up`: runs an instance until it is told to stop.
import { join } from "node:path";
import { type Config, createLogging, errorMessage, type Logging, loadConfig } from "@ectus/core";
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { credentialsFile } from "../credentials.ts";
import { exitCodes } from "../exit-codes.ts";
import { type InstanceConfig, readInstanceConfig, withInstanceFlags } from "../instance-config.ts";
import { print, printable } from "../output.ts";
import { whileStoppable } from "../stop-signals.ts";
import { type Instance, startInstance } from "../up.ts";

interface UpFlags {
  readonly port?: string;
  readonly dataDir?: string;
  readonly offline?: boolean;
  readonly json?: boolean;
}

// Without its database an instance can end no request; this long they have for what needs none.
const graceAfterFailureMs = 2_000;
// What waits for the database to come back is not waited for longer than this.
const stopAfterFailureMs = 5_000;

export function addUp(program: Command, context: CommandContext): void {
  withInstanceFlags(program.command("up"))
    .description("run an instance: database, model and API, until Ctrl-C")
    .option("--port <port>", "port of the API; 0 takes a free one (PORT)")
    .option("--offline", "ask nothing of the network; use the model only if it is here")
    .addHelpText(
      "after",
      `
With --json, an object with "url", "metricsUrl" and "credentialsFile" is printed when the instance is ready; logs go to standard error.
SIGHUP makes an instance that belongs to no terminal read LOG_LEVEL again, from the file that ECTUS_CONFIG names; on a
terminal it stops the instance, as the terminal is being closed.

Examples:
  ectus up
  ectus up --port 8081 --data-dir /var/lib/ectus --offline`,
    )
    .action((flags: UpFlags) => up(flags, context));
}

async function up(flags: UpFlags, context: CommandContext): Promise<void> {
  const configured = readInstanceConfig(context, flags);
  const logging = logsOf(configured, flags, context);
  using watching = new DisposableStack();
  watching.defer(context.onReload(() => readLevelsAgain(configured, logging)));
  watching.defer(
    context.onCrash((error) => {
      logging.module("cli").fatal({ err: error }, "crashed: nobody caught what was thrown");
      // What is on its way to the log is written at the exit.
      context.exitNow(exitCodes.failed);
    }),
  );
  const stopAsked = Promise.withResolvers<void>();
  let starting = true;
  let givenUp = false;
  await whileStoppable(
    {
      context,
      dataDir: configured.dataDir,
      onFirst(abort) {
        givenUp = starting;
        if (starting) abort();
        else stopAsked.resolve();
      },
    },
    async (signal) => {
      let instance: Instance;
      try {
        instance = await startInstance({
          instance: configured,
          offline: flags.offline === true,
          output: context.progressOutput,
          signal,
          logging,
        });
      } catch (error) {
        // Whoever stops a start gets what they asked for.
        if (givenUp) return;
        throw error;
      }
      starting = false;
      if (givenUp) return instance.stop();
      const { url, metricsUrl = null, dataDir, models, credentials } = instance;
      const credentialsPath = credentials === undefined ? null : credentialsFile(dataDir);
      print(
        context,
        flags,
        { object: "instance", url, metricsUrl, data_dir: dataDir, models, credentialsFile: credentialsPath },
        () => welcome(instance),
      );
      await runUntilStopped(instance, stopAsked.promise, logging, context);
    },
  );
}

async function runUntilStopped(
  instance: Instance,
  stopAsked: Promise<void>,
  logging: Logging,
  context: CommandContext,
): Promise<void> {
  try {
    await Promise.race([stopAsked, instance.failed]);
  } catch (error) {
    const log = logging.module("cli");
    log.fatal({ err: error }, "the instance cannot go on");
    const stopping = instance.stop(graceAfterFailureMs).catch((failure) => {
      log.error({ err: failure }, "not everything stopped in order");
    });
    const limit = setTimeout(() => {
      context.stderr(`ectus: ${errorMessage(error)}\n`);
      context.exitNow(exitCodes.failed);
    }, stopAfterFailureMs);
    await stopping;
    clearTimeout(limit);
    throw error;
  }
  await instance.stop();
}

function logsOf({ config }: InstanceConfig, { json }: UpFlags, context: CommandContext): Logging {
  return createLogging({
    levels: config.LOG_LEVEL,
    format: logFormat(config, context.terminal && json !== true),
    ...(json === true ? { destination: context.errorLog } : {}),
  });
}

/** The environment of a process does not change, but the file may have. */
function readLevelsAgain({ environment }: InstanceConfig, logging: Logging): void {
  try {
    logging.configureLevels(loadConfig(environment, environment.ECTUS_CONFIG).LOG_LEVEL);
  } catch (error) {
    logging
      .module("cli")
      .error({ err: error }, "the configuration cannot be read again; nothing was changed");
  }
}

function logFormat({ LOG_FORMAT }: Config, terminal: boolean): "json" | "pretty" {
  if (LOG_FORMAT !== "auto") return LOG_FORMAT;
  return terminal ? "pretty" : "json";
}

/** As a shell takes it for one word. */
const quoted = (text: string): string => `'${printable(text).replaceAll("'", "'\\''")}'`;

/** What to type next. */
export function welcome({
  url,
  metricsUrl,
  dataDir,
  credentials,
  models,
  chatModel: model,
}: Instance): string {
  const lines = ["", `Ectus-R answers at ${url} (docs: ${url}/docs).`];
  if (metricsUrl !== undefined) lines.push(`Metrics for Prometheus are at ${metricsUrl}.`);
  const tenant = credentials?.tenants[0];
  if (tenant === undefined) {
    lines.push("This database has tenants already; make a key with: npm run ectus -- key create --help");
  } else {
    lines.push(`Keys are in ${printable(join(dataDir, "credentials.json"))}.`);
    if (model !== undefined) {
      const body = JSON.stringify({
        model,
        messages: [{ role: "user", content: "Say hello in five words." }],
        temperature: 0,
      });
      lines.push(
        "Ask the model:",
        "",
        // The key itself would stay wherever this output is kept.
        `  curl ${url}/v1/chat/completions \\`,
        `    -H "Authorization: Bearer $(sed -n 's/.*"key": "\\(.*\\)".*/\\1/p' ${quoted(credentialsFile(dataDir))})" \\`,
        `    -H 'Content-Type: application/json' -d '${body}'`,
      );
    }
  }
  if (models.length === 0)
    lines.push(
      "No model is here: name an upstream in AI_PROVIDERS (see docs/providers.example.yaml), or run: npm run ectus -- model pull",
    );
  lines.push("", "Ctrl-C stops it.", "");
  return lines.join("\n");
}
