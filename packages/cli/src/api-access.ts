// Which API a command talks to and with which key: from the environment, or from the folder of an instance that runs here.
import { EctusError } from "@ectus/core";
import type { Command } from "commander";
import type { Api, ApiAccess } from "./api-client.ts";
import type { CommandContext } from "./command-context.ts";
import { credentialsFile, readCredentials } from "./credentials-file.ts";
import { isId, onlyTenant } from "./find-tenant.ts";
import { type InstanceFlags, readInstanceConfig, withInstanceFlags } from "./instance-config.ts";
import { parseName } from "./option-values.ts";

export interface ApiFlags extends InstanceFlags {
  readonly url?: string;
  readonly tenant?: string;
}

export const accessHelp = `
The API is the one that --url or ECTUS_URL names, with the key in ECTUS_API_KEY: an admin key of the tenant, or with
--tenant the operator's. Without both, it is the instance of DATA_DIR, with the keys in its credentials.json.`;

/** Adds what every command has that talks to the API for a tenant. */
export function withApiFlags(command: Command): Command {
  return withInstanceFlags(command)
    .option("--url <url>", "address of the API, with or without /v1 (ECTUS_URL)")
    .option("--tenant <tenant>", "whose: id or name of the tenant, for the operator's key", parseName);
}

/** @throws EctusError `invalid_config` when it is not clear which API or which key is meant */
export async function readApiAccess(
  context: CommandContext,
  flags: ApiFlags,
): Promise<ApiAccess & { readonly dataDir: string }> {
  const { environment, dataDir } = readInstanceConfig(context, flags);
  const url = flags.url ?? (environment.ECTUS_URL || undefined);
  const key = environment.ECTUS_API_KEY || undefined;
  if (url !== undefined) {
    const checked = checkedUrl(url, flags.url === undefined ? "ECTUS_URL" : "--url");
    // A key from the folder is not sent to wherever an address leads.
    if (key === undefined)
      throw fault("ECTUS_API_KEY", "is not set, accepts a key of the API that --url or ECTUS_URL names");
    return { url: checked, key: checkedKey(key), dataDir };
  }
  const file = credentialsFile(dataDir);
  const credentials = await readCredentials(file);
  if (credentials === undefined)
    throw fault(
      "ECTUS_URL",
      `is not set, and there is no ${file}; accepts the address of the API (and ECTUS_API_KEY a key of it), or --data-dir the folder of an instance`,
    );
  const baseUrl = checkedUrl(credentials.baseUrl, `baseUrl in ${file}`);
  if (key !== undefined) return { url: baseUrl, key: checkedKey(key), dataDir };
  if (flags.tenant !== undefined) return { url: baseUrl, key: credentials.operatorKey, dataDir };
  const [tenant, ...others] = credentials.tenants;
  if (tenant === undefined || others.length > 0) {
    const names = credentials.tenants.map(({ name }) => `'${name}'`).join(", ");
    throw fault("--tenant", `is not given, and ${file} has keys of several tenants; accepts one of ${names}`);
  }
  return { url: baseUrl, key: tenant.adminKey, dataDir };
}

const fault = (name: string, text: string): EctusError =>
  new EctusError("invalid_config", { faults: `  ${name}: ${text}` });

function checkedUrl(text: string, name: string): string {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "")
    throw fault(
      name,
      `got ${JSON.stringify(text.replace(/\/\/.*@/s, "//[secret]@"))}, accepts a URL like https://ai.example.com without user and password`,
    );
  // Clients of OpenAI's API are given it with /v1.
  return (url.origin + url.pathname).replace(/\/+$/, "").replace(/\/v1$/, "");
}

/** A header cannot hold everything that an environment can; what was given is not shown. */
function checkedKey(key: string): string {
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw fault("ECTUS_API_KEY", "got a value that is no key; accepts one like sk-…, without spaces");
}

const pageSize = 1_000;

interface TenantPage {
  readonly data: readonly { readonly id: string; readonly name: string }[];
  readonly has_more: boolean;
}

/**
 * The id of the tenant that a person means, asked for with the operator's key.
 *
 * @throws EctusError `not_found`, or `conflict` when several tenants have the name
 */
export async function findTenantId(api: Api, idOrName: string, signal: AbortSignal): Promise<string> {
  if (isId(idOrName)) return idOrName;
  const found: { readonly id: string }[] = [];
  let after = "";
  for (;;) {
    const page = (await api.json(`/admin/tenants?limit=${pageSize}${after}`, { signal })) as TenantPage;
    found.push(...page.data.filter(({ name }) => name === idOrName));
    const last = page.data.at(-1);
    if (!page.has_more || last === undefined) return onlyTenant(found, idOrName).id;
    after = `&after=${encodeURIComponent(last.id)}`;
  }
}
