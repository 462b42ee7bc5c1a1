// `ectus key`: makes, lists and revokes API keys of a tenant or of the operator. A key is shown once, when it is made.
import { apiKeyDigest, apiKeyPrefix, createApiKey, EctusError } from "@ectus/core";
import {
  type Actor,
  type ApiKeyRow,
  type Database,
  insertApiKey,
  listApiKeys,
  platformTenantId,
  revokeApiKey,
  type Scope,
} from "@ectus/database";
import { Argument, type Command, Option } from "commander";
import type { CommandContext } from "../command-context.ts";
import { findTenant, isId } from "../find-tenant.ts";
import { type InstanceConfig, type InstanceFlags, withInstanceFlags } from "../instance-config.ts";
import { readInstanceSecrets } from "../instance-secrets.ts";
import { withInstanceDatabase } from "../open-instance-database.ts";
import { type Limit, parseExpiry, parseName, parsePerMinute, toStored } from "../option-values.ts";
import { facts, print, table } from "../output.ts";

interface OwnerFlags extends InstanceFlags {
  readonly tenant?: string;
  readonly operator?: boolean;
}

interface CreateFlags extends OwnerFlags {
  readonly scope?: readonly Scope[];
  readonly expires?: Date;
  readonly rpm?: Limit;
  readonly tpm?: Limit;
}

const operator: Actor = { actor: { type: "operator" } };
const defaultScopes: readonly Scope[] = ["inference"];

export function addKey(program: Command, context: CommandContext): void {
  const key = program
    .command("key")
    .description("make, list and revoke API keys")
    .addHelpText(
      "after",
      `
Examples:
  ectus key create 'web shop' --tenant 'Acme Corp' --expires 90d
  ectus key create 'night shift' --operator
  ectus key list --tenant 'Acme Corp'
  ectus key revoke 01990000-0000-7000-8000-000000000000 --tenant 'Acme Corp'`,
    );

  const create = withOwnerFlags(key.command("create"))
    .description("make a key; it is printed once and cannot be shown again")
    .addArgument(new Argument("<name>", "what people call it").argParser(parseName))
    .addOption(
      new Option("--scope <scopes...>", "what it may do (default: inference)")
        .choices(["inference", "admin"])
        .conflicts("operator"),
    )
    .option("--expires <time>", "a time like 2027-01-31T12:00:00Z, or a length like 90d", (text) =>
      parseExpiry(text),
    )
    .option("--rpm <count>", "requests a minute, or none for the tenant's limit", parsePerMinute)
    .option("--tpm <count>", "tokens a minute, or none for the tenant's limit", parsePerMinute)
    .addHelpText(
      "after",
      "\nExamples:\n  ectus key create 'web shop' --tenant 'Acme Corp'\n  ectus key create exports --tenant 'Acme Corp' --scope inference admin --expires 90d\n  ectus key create 'night shift' --operator",
    );
  create.action((name: string, flags: CreateFlags) => {
    requireOwner(create, flags);
    return withInstanceDatabase(context, flags, async ({ instance, database }) => {
      const text = createApiKey();
      const row = await insertApiKey(
        database,
        {
          tenantId: await ownerId(database, flags),
          name,
          prefix: apiKeyPrefix(text),
          digest: apiKeyDigest(text, await newestSecret(instance)),
          scopes: flags.operator === true ? ["operator"] : [...new Set(flags.scope ?? defaultScopes)],
          expiresAt: flags.expires ?? null,
          requestsPerMinute: toStored(flags.rpm ?? "none"),
          tokensPerMinute: toStored(flags.tpm ?? "none"),
        },
        operator,
      );
      print(
        context,
        flags,
        { ...toObject(row), key: text },
        () => `${facts(keyFacts(row))}\n\nThe key, which is shown only now:\n\n  ${text}\n`,
      );
    });
  });

  const list = withOwnerFlags(key.command("list"))
    .description("list the keys of a tenant or of the operator")
    .addHelpText(
      "after",
      "\nExamples:\n  ectus key list --tenant 'Acme Corp'\n  ectus key list --operator --json",
    );
  list.action((flags: OwnerFlags) => {
    requireOwner(list, flags);
    return withInstanceDatabase(context, flags, async ({ database }) => {
      const rows = await listApiKeys(database, await ownerId(database, flags));
      print(context, flags, { object: "list", data: rows.map(toObject), has_more: false }, () =>
        rows.length === 0 ? "There are no keys. Make one with: ectus key create <name>" : listText(rows),
      );
    });
  });

  const revoke = withOwnerFlags(key.command("revoke"))
    .description("refuse a key from now on, for good")
    .argument("<id>", "id of the key, as 'ectus key list' shows it")
    .addHelpText(
      "after",
      "\nExample:\n  ectus key revoke 01990000-0000-7000-8000-000000000000 --tenant 'Acme Corp'",
    );
  revoke.action((id: string, flags: OwnerFlags) => {
    requireOwner(revoke, flags);
    if (!isId(id))
      revoke.error(
        `error: the key's id '${id}' is invalid. Accepts an id like 01990000-0000-7000-8000-000000000000, as 'ectus key list' shows it.`,
      );
    return withInstanceDatabase(context, flags, async ({ database }) => {
      const row = await revokeApiKey(database, await ownerId(database, flags), id, operator);
      print(context, flags, toObject(row), () => facts(keyFacts(row)));
    });
  });
}

function withOwnerFlags(command: Command): Command {
  return withInstanceFlags(command)
    .option("--tenant <tenant>", "whose key it is: id or name of the tenant", parseName)
    .addOption(new Option("--operator", "the operator's, not a tenant's").conflicts("tenant"));
}

function requireOwner(command: Command, { tenant, operator: forOperator }: OwnerFlags): void {
  if (tenant === undefined && forOperator !== true)
    command.error("error: whose key is meant? Accepts --tenant <id or name>, or --operator.");
}

async function ownerId(database: Database, { tenant }: OwnerFlags): Promise<string> {
  return tenant === undefined ? platformTenantId : (await findTenant(database, tenant)).id;
}

/** The secret that new keys are stored under; it must be the instances' own, or they would refuse the key. */
async function newestSecret({ config, dataDir }: InstanceConfig): Promise<string> {
  const secret = config.API_KEY_SECRET?.[0] ?? (await readInstanceSecrets(dataDir))?.apiKeySecret;
  if (secret !== undefined) return secret;
  throw new EctusError("invalid_config", {
    faults: `  API_KEY_SECRET: is not set, and ${dataDir} has no secrets.json; accepts the secret that the instances use, without which they would refuse the new key`,
  });
}

const time = (date: Date | null): string | null => date?.toISOString() ?? null;

/** A key as the API shows it. */
function toObject(row: ApiKeyRow) {
  const { id, tenant_id, name, prefix, scopes, requests_per_minute, tokens_per_minute } = row;
  return {
    id,
    object: "api_key",
    tenant_id,
    name,
    prefix,
    scopes,
    requests_per_minute,
    tokens_per_minute,
    created_at: row.created_at.toISOString(),
    expires_at: time(row.expires_at),
    revoked_at: time(row.revoked_at),
    last_used_at: time(row.last_used_at),
  } as const;
}

function stateOf({ revoked_at, expires_at }: ApiKeyRow): string {
  if (revoked_at !== null) return `revoked ${revoked_at.toISOString()}`;
  if (expires_at === null) return "valid";
  return `${expires_at.getTime() > Date.now() ? "valid until" : "expired"} ${expires_at.toISOString()}`;
}

const keyFacts = (row: ApiKeyRow): [string, string][] => [
  ["id", row.id],
  ["name", row.name],
  ["tenant", row.tenant_id === platformTenantId ? "none: the operator's" : row.tenant_id],
  ["scopes", row.scopes.join(", ")],
  ["state", stateOf(row)],
  ["requests a minute", row.requests_per_minute?.toString() ?? "the tenant's limit"],
  ["tokens a minute", row.tokens_per_minute?.toString() ?? "the tenant's limit"],
];

function listText(rows: readonly ApiKeyRow[]): string {
  return table(
    ["ID", "NAME", "KEY", "SCOPES", "STATE", "LAST USED"],
    rows.map((row) => [
      row.id,
      row.name,
      `${row.prefix}…`,
      row.scopes.join(","),
      stateOf(row),
      time(row.last_used_at) ?? "never",
    ]),
  );
}
