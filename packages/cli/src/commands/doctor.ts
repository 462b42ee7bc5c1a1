// `ectus doctor`: checks everything that an instance depends on and says how to fix what is not well.
import { errorMessage } from "@ectus/core";
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { storageUrl } from "../data-dir.ts";
import { type Check, fail, ok, worst } from "../doctor/check.ts";
import { checkDatabase } from "../doctor/database.ts";
import { checkDataDir, checkNode } from "../doctor/machine.ts";
import { checkMetrics } from "../doctor/metrics.ts";
import { checkModels } from "../doctor/models.ts";
import { checkPort } from "../doctor/port.ts";
import { checkStorage } from "../doctor/storage.ts";
import { CommandEnded } from "../exit-codes.ts";
import {
  commandLogging,
  type InstanceConfig,
  type InstanceFlags,
  readInstanceConfig,
  withInstanceFlags,
} from "../instance-config.ts";
import { type ContactsFlags, contactsSource, withContactsFlags } from "../on-call/contacts-file.ts";
import { hasEmbeddedDatabase, openInstanceDatabase } from "../open-instance-database.ts";
import { configuredUrls } from "../open-postgres.ts";
import { print, printable } from "../output.ts";
import { whileStoppable } from "../stop-signals.ts";

interface DoctorFlags extends InstanceFlags, ContactsFlags {
  readonly port?: string;
  readonly onCall?: boolean;
  readonly person?: string;
}

export function addDoctor(program: Command, context: CommandContext): void {
  const doctor = withContactsFlags(withInstanceFlags(program.command("doctor")))
    .description("check everything that an instance depends on, and say how to fix what is not well")
    .option("--port <port>", "port of the API (PORT)")
    .option("--on-call", "check your own access in its place: all that runbooks need of whoever is on call")
    .option("--person <id>", "with --on-call: your id in the contacts file")
    .addHelpText(
      "after",
      `
It works while an instance runs and when none does, and exits with 1 if a check fails.

With --on-call it needs no instance here. It asks what ECTUS_URL, PROMETHEUS_URL, ALERTMANAGER_URL, JAEGER_URL,
DATABASE_OWNER_URL and KUBECONFIG lead to, with the key in ECTUS_OPERATOR_KEY, and changes nothing.
Without KUBECONFIG it looks at no cluster, and warns of that.

Examples:
  ectus doctor
  ectus doctor --data-dir /var/lib/ectus --json
  ectus doctor --on-call --person ada`,
    );
  doctor.action(async (flags: DoctorFlags) => {
    const { onCall = false, person, contacts } = flags;
    if (!onCall && (person ?? contacts) !== undefined)
      doctor.error(
        "error: --person and --contacts are for 'ectus doctor --on-call'. Add --on-call, or leave them out.",
      );
    const checks = onCall ? await runOnCallChecks(context, flags) : await runChecks(context, flags);
    const status = worst(checks);
    print(context, flags, { object: "doctor", status, checks }, () => checks.map(line).join("\n"));
    if (status === "fail") throw new CommandEnded();
  });
}

async function runOnCallChecks(context: CommandContext, flags: DoctorFlags): Promise<Check[]> {
  const { checkOnCall } = await import("../doctor/on-call.ts");
  return checkOnCall(context.environment, {
    source: contactsSource(context, flags),
    person: flags.person,
    now: Temporal.Instant.fromEpochMilliseconds(Date.now()),
  });
}

async function runChecks(context: CommandContext, flags: DoctorFlags): Promise<Check[]> {
  const node = checkNode();
  let instance: InstanceConfig;
  try {
    instance = readInstanceConfig(context, flags);
  } catch (error) {
    return [
      node,
      fail("configuration", errorMessage(error), "Correct these; 'ectus config' shows what is accepted."),
    ];
  }
  const { config, dataDir } = instance;
  const folder = await checkDataDir(dataDir);
  return [
    node,
    ok("configuration", "every variable is valid"),
    ...folder.checks,
    ...(await checkItsDatabase(context, instance)),
    ...(config.STORAGE_URL !== undefined || folder.usable ? [await checkStorage(storageUrl(instance))] : []),
    ...(await checkModels(instance)),
    await checkPort(config.HOST, config.PORT),
    ...(await checkMetrics(config)),
  ];
}

async function checkItsDatabase(context: CommandContext, instance: InstanceConfig): Promise<Check[]> {
  const { config, dataDir } = instance;
  if (configuredUrls(config) === undefined && !(await hasEmbeddedDatabase(dataDir))) {
    return [ok("database", `there is none in ${dataDir} yet; the first start makes an embedded one`)];
  }
  const logging = commandLogging(context, instance);
  return whileStoppable({ context, dataDir }, async (signal) => {
    await using opened = new AsyncDisposableStack();
    return await checkDatabase(async () => {
      const database = await openInstanceDatabase({ instance, log: logging.module("postgres"), signal });
      opened.defer(() => database.close());
      return database;
    });
  });
}

function line({ name, status, detail, fix }: Check): string {
  const text = `${status.padEnd(4)}  ${name}: ${detail.split("\n").map(printable).join("\n      ")}`;
  return fix === null ? text : `${text}\n      ${printable(fix)}`;
}
