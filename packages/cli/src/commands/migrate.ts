// `ectus migrate`: brings the instance's database to this version's schema, or tells whether it is.
import { findSchemaFault, isConnectionError, migrate } from "@ectus/database";
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { CommandEnded } from "../exit-codes.ts";
import {
  commandLogging,
  type InstanceFlags,
  readInstanceConfig,
  withInstanceFlags,
} from "../instance-config.ts";
import {
  hasEmbeddedDatabase,
  type InstanceDatabase,
  openInstanceDatabase,
} from "../open-instance-database.ts";
import { configuredUrls, unreachable } from "../open-postgres.ts";
import { print } from "../output.ts";
import { whileStoppable } from "../stop-signals.ts";

interface MigrateFlags extends InstanceFlags {
  readonly check?: boolean;
}

export function addMigrate(program: Command, context: CommandContext): void {
  withInstanceFlags(program.command("migrate"))
    .description("apply this version's migrations to the database")
    .option("--check", "apply nothing; exit 1 if migrations are missing")
    .addHelpText(
      "after",
      `
The database is that of DATABASE_OWNER_URL or DATABASE_URL, else the embedded one in DATA_DIR. 'ectus up' migrates by
itself; this is for doing it before.

Examples:
  ectus migrate
  ectus migrate --check --json`,
    )
    .action((flags: MigrateFlags) => runMigrate(flags, context));
}

async function runMigrate(flags: MigrateFlags, context: CommandContext): Promise<void> {
  const instance = readInstanceConfig(context, flags);
  const { config, dataDir } = instance;
  const logging = commandLogging(context, instance);
  if (flags.check === true && configuredUrls(config) === undefined && !(await hasEmbeddedDatabase(dataDir))) {
    return tellCheck(context, flags, `there is no database in ${dataDir} yet; run 'ectus migrate'`);
  }
  await whileStoppable({ context, dataDir }, async (signal) => {
    await using opened = new AsyncDisposableStack();
    const database = await openInstanceDatabase({
      instance,
      log: logging.module("postgres"),
      signal,
      create: flags.check !== true,
    });
    opened.defer(() => database.close());
    if (database.server === "running" && flags.json !== true) {
      context.stderr(`An instance is running on ${dataDir}; its database is used as it runs.\n`);
    }
    if (flags.check === true) {
      return tellCheck(context, flags, await reach(database, () => findSchemaFault(database.ownerUrl)));
    }
    const applied = await reach(database, () =>
      migrate({ url: database.ownerUrl, log: logging.module("database") }),
    );
    print(context, flags, { object: "migration", applied, up_to_date: true, fault: null }, () =>
      applied.length === 0
        ? "The database is up to date."
        : `Applied ${applied.length === 1 ? "1 migration" : `${applied.length} migrations`}:\n${applied.map((name) => `  ${name}`).join("\n")}`,
    );
  });
}

function tellCheck(context: CommandContext, flags: MigrateFlags, fault: string | undefined): void {
  print(
    context,
    flags,
    { object: "migration", applied: [], up_to_date: fault === undefined, fault: fault ?? null },
    () => (fault === undefined ? "The database is up to date." : `The database is not up to date: ${fault}.`),
  );
  if (fault !== undefined) throw new CommandEnded();
}

async function reach<T>({ ownerUrl }: InstanceDatabase, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw isConnectionError(error) ? unreachable(ownerUrl, error) : error;
  }
}
