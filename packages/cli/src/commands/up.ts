// `ectus up`: runs an instance until it is told to stop.
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { type Instance, startInstance } from "../up.ts";

interface UpFlags {
  readonly port?: string;
  readonly dataDir?: string;
  readonly offline: boolean;
}

export function addUp(program: Command, context: CommandContext): void {
  program
    .command("up")
    .description("run an instance: database, model and API, until Ctrl-C")
    .option("--port <port>", "port of the API; 0 takes a free one (PORT)")
    .option("--data-dir <folder>", "folder for everything that the instance keeps (DATA_DIR)")
    .option("--offline", "ask nothing of the network; use the model only if it is here", false)
    .addHelpText(
      "after",
      "\nExamples:\n  ectus up\n  ectus up --port 8081 --data-dir /var/lib/ectus --offline",
    )
    .action((flags: UpFlags) => up(flags, context));
}

async function up(flags: UpFlags, context: CommandContext): Promise<void> {
  const starting = new AbortController();
  const stopped = Promise.withResolvers<void>();
  let instance: Instance | undefined;
  const release = context.onStopSignal((count) => {
    if (count > 1) context.exitNow(1);
    context.stderr("\nStopping. Once more to stop at once.\n");
    if (instance === undefined) starting.abort(new Error("stopped while starting"));
    else stopped.resolve();
  });
  const environment = {
    ...context.environment,
    ...(flags.port === undefined ? {} : { PORT: flags.port }),
    ...(flags.dataDir === undefined ? {} : { DATA_DIR: flags.dataDir }),
  };
  try {
    instance = await startInstance({
      environment,
      offline: flags.offline,
      output: context.progressOutput,
      terminal: context.terminal,
      signal: starting.signal,
    });
    context.stdout(welcome(instance));
    try {
      await Promise.race([stopped.promise, instance.failed]);
    } finally {
      await instance.stop();
    }
  } finally {
    release();
  }
}

/** What to type next. */
export function welcome({ url, dataDir, credentials, models }: Instance): string {
  const lines = ["", `Ectus-R answers at ${url} (docs: ${url}/docs).`];
  const tenant = credentials?.tenants[0];
  const model = models[0];
  if (tenant === undefined) {
    lines.push("This database has tenants already; make a key with: npm run ectus -- key create --help");
  } else {
    lines.push(`Keys are in ${dataDir}/credentials.json.`);
    if (model !== undefined) {
      const body = JSON.stringify({
        model,
        messages: [{ role: "user", content: "Say hello in five words." }],
      });
      lines.push(
        "Ask the model:",
        "",
        `  curl ${url}/v1/chat/completions -H 'Authorization: Bearer ${tenant.key}' \\`,
        `    -H 'Content-Type: application/json' -d '${body}'`,
      );
    }
  }
  if (model === undefined)
    lines.push(
      "No model is here: name an upstream in AI_PROVIDERS (see docs/providers.example.yaml), or run: npm run ectus -- model pull",
    );
  lines.push("", "Ctrl-C stops it.", "", "");
  return lines.join("\n");
}
