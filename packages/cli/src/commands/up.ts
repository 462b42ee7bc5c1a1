// `ectus up`: runs an instance until it is told to stop.
import { join } from "node:path";
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { credentialsFile } from "../credentials-file.ts";
import { readInstanceConfig, withInstanceFlags } from "../instance-config.ts";
import { print, printable, quoted } from "../output.ts";
import { runProcess } from "../run-process.ts";
import { type Instance, startInstance } from "../up.ts";

interface UpFlags {
  readonly port?: string;
  readonly dataDir?: string;
  readonly offline?: boolean;
  readonly json?: boolean;
}

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

function up(flags: UpFlags, context: CommandContext): Promise<void> {
  const configured = readInstanceConfig(context, flags);
  return runProcess({
    context,
    instance: configured,
    flags,
    start: (logging, signal) =>
      startInstance({
        instance: configured,
        offline: flags.offline === true,
        output: context.progressOutput,
        signal,
        logging,
      }),
    onReady(instance) {
      const { url, metricsUrl = null, dataDir, models, credentials } = instance;
      const credentialsPath = credentials === undefined ? null : credentialsFile(dataDir);
      print(
        context,
        flags,
        { object: "instance", url, metricsUrl, data_dir: dataDir, models, credentialsFile: credentialsPath },
        () => welcome(instance),
      );
    },
  });
}

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
