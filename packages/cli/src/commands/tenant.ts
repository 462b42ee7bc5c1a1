// `ectus tenant`: makes, shows and changes tenants, directly in the instance's database.
import {
  type Actor,
  createTenant,
  type Database,
  listTenants,
  type TenantLimits,
  type TenantRecord,
  updateTenant,
} from "@ectus/database";
import { Argument, type Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { findTenant } from "../find-tenant.ts";
import { type InstanceFlags, withInstanceFlags } from "../instance-config.ts";
import { withInstanceDatabase } from "../open-instance-database.ts";
import {
  type Limit,
  parseBudget,
  parseName,
  parsePageSize,
  parsePerMinute,
  toStored,
} from "../option-values.ts";
import { facts, print, table } from "../output.ts";

interface LimitFlags extends InstanceFlags {
  readonly rpm?: Limit;
  readonly tpm?: Limit;
  readonly budget?: Limit;
}

/** Whoever may run the command on the instance's database is its operator. */
const operator: Actor = { actor: { type: "operator" } };

export function addTenant(program: Command, context: CommandContext): void {
  const tenant = program
    .command("tenant")
    .description("make, show and change tenants")
    .addHelpText(
      "after",
      `
A tenant is named by its id, or by its name if no other has the same.

Examples:
  ectus tenant create 'Acme Corp' --budget 5000000
  ectus tenant list
  ectus tenant limits 'Acme Corp' --rpm 600 --tpm none
  ectus tenant suspend 'Acme Corp'`,
    );
  const which = (): Argument => new Argument("<tenant>", "id or name of the tenant").argParser(parseName);

  /** Adds a command that works on one tenant. */
  function addForOne<Flags extends InstanceFlags>(
    name: string,
    description: string,
    example: string,
    work: (database: Database, tenant: TenantRecord, flags: Flags) => Promise<void>,
  ): Command {
    return withInstanceFlags(tenant.command(name))
      .description(description)
      .addArgument(which())
      .addHelpText("after", `\nExample:\n  ectus tenant ${name} ${example}`)
      .action((idOrName: string, flags: Flags) =>
        withInstanceDatabase(context, flags, async ({ database }) =>
          work(database, await findTenant(database, idOrName), flags),
        ),
      );
  }
  const change = async (
    database: Database,
    { id }: TenantRecord,
    changes: Parameters<typeof updateTenant>[2],
    flags: InstanceFlags,
  ): Promise<void> => show(context, flags, await updateTenant(database, id, changes, operator));

  withLimitFlags(withInstanceFlags(tenant.command("create")))
    .description("make a tenant")
    .addArgument(new Argument("<name>", "what people call it").argParser(parseName))
    .addHelpText(
      "after",
      "\nExamples:\n  ectus tenant create 'Acme Corp'\n  ectus tenant create 'Acme Corp' --rpm 600 --budget 5000000",
    )
    .action((name: string, flags: LimitFlags) =>
      withInstanceDatabase(context, flags, async ({ database }) =>
        show(context, flags, await createTenant(database, { name, ...limitsIn(flags) }, operator)),
      ),
    );

  withInstanceFlags(tenant.command("list"))
    .description("list tenants in the order in which they were made")
    .option("--limit <count>", "how many at most", parsePageSize, 100)
    .option("--after <tenant>", "those that were made after this one", parseName)
    .addHelpText("after", "\nExamples:\n  ectus tenant list\n  ectus tenant list --limit 1000 --json")
    .action((flags: InstanceFlags & { readonly limit: number; readonly after?: string }) =>
      withInstanceDatabase(context, flags, async ({ database }) => {
        const after =
          flags.after === undefined ? {} : { after: (await findTenant(database, flags.after)).id };
        const rows = await listTenants(database, { limit: flags.limit + 1, ...after });
        const tenants = rows.slice(0, flags.limit);
        const hasMore = rows.length > flags.limit;
        print(context, flags, { object: "list", data: tenants.map(toObject), has_more: hasMore }, () =>
          listText(tenants, hasMore),
        );
      }),
    );

  addForOne("show", "show a tenant", "'Acme Corp'", async (_database, found, flags) =>
    show(context, flags, found),
  );

  addForOne<InstanceFlags & { readonly name: string }>(
    "update",
    "rename a tenant",
    "'Acme Corp' --name 'Acme Inc.'",
    (database, found, flags) => change(database, found, { name: flags.name }, flags),
  ).requiredOption("--name <name>", "its new name", parseName);

  addForOne(
    "suspend",
    "refuse a tenant's keys until it is activated again",
    "'Acme Corp'",
    (database, found, flags) => change(database, found, { state: "suspended" }, flags),
  );

  addForOne("activate", "accept a suspended tenant's keys again", "'Acme Corp'", (database, found, flags) =>
    change(database, found, { state: "active" }, flags),
  );

  withLimitFlags(
    addForOne<LimitFlags>(
      "limits",
      "show a tenant's limits, or change those that are named",
      "'Acme Corp' --rpm 600 --tpm none",
      async (database, found, flags) => {
        const limits = limitsIn(flags);
        const changed =
          Object.keys(limits).length === 0 ? found : await updateTenant(database, found.id, limits, operator);
        print(context, flags, { object: "tenant.limits", tenant_id: found.id, ...limitsOf(changed) }, () =>
          facts(limitFacts(changed)),
        );
      },
    ),
  );
}

function withLimitFlags(command: Command): Command {
  return command
    .option("--rpm <count>", "requests a minute of each key, or none", parsePerMinute)
    .option("--tpm <count>", "tokens a minute of each key, or none", parsePerMinute)
    .option("--budget <tokens>", "tokens a month of the tenant, or none", parseBudget);
}

function limitsIn({ rpm, tpm, budget }: LimitFlags): TenantLimits {
  return {
    ...(rpm === undefined ? {} : { requests_per_minute: toStored(rpm) }),
    ...(tpm === undefined ? {} : { tokens_per_minute: toStored(tpm) }),
    ...(budget === undefined ? {} : { monthly_token_budget: toStored(budget) }),
  };
}

function limitsOf({ requests_per_minute, tokens_per_minute, monthly_token_budget }: TenantRecord) {
  return { requests_per_minute, tokens_per_minute, monthly_token_budget };
}

/** A tenant as the API shows it. */
function toObject(row: TenantRecord) {
  const { id, name, state, created_at } = row;
  return {
    id,
    object: "tenant",
    name,
    state,
    created_at: created_at.toISOString(),
    limits: limitsOf(row),
  } as const;
}

const limitText = (limit: number | null): string => (limit === null ? "none" : String(limit));

const limitFacts = (row: TenantRecord): [string, string][] => [
  ["requests a minute", limitText(row.requests_per_minute)],
  ["tokens a minute", limitText(row.tokens_per_minute)],
  ["tokens a month", limitText(row.monthly_token_budget)],
];

function show(context: CommandContext, flags: InstanceFlags, row: TenantRecord): void {
  print(context, flags, toObject(row), () =>
    facts([
      ["id", row.id],
      ["name", row.name],
      ["state", row.state],
      ["made", row.created_at.toISOString()],
      ...limitFacts(row),
    ]),
  );
}

function listText(rows: readonly TenantRecord[], hasMore: boolean): string {
  if (rows.length === 0) return "There are no tenants. Make one with: ectus tenant create <name>";
  const text = table(
    ["ID", "NAME", "STATE", "MADE", "REQUESTS/MIN", "TOKENS/MIN", "TOKENS/MONTH"],
    rows.map((row) => [
      row.id,
      row.name,
      row.state,
      row.created_at.toISOString().slice(0, 10),
      limitText(row.requests_per_minute),
      limitText(row.tokens_per_minute),
      limitText(row.monthly_token_budget),
    ]),
  );
  return hasMore ? `${text}\nThere are more: --after ${rows.at(-1)?.id}` : text;
}
