// What the commands of exports have in common: they talk to an API until they are done or stopped.
import { InvalidArgumentError } from "commander";
import { type ApiFlags, findTenantId, readApiAccess } from "./api-access.ts";
import { ApiFault, openApi, type Patience } from "./api-client.ts";
import type { CommandContext } from "./command-context.ts";
import { CommandEnded } from "./exit-codes.ts";
import { createExportClient, type ExportClient } from "./export-client.ts";
import { quoted } from "./output.ts";
import { whileStoppable } from "./stop-signals.ts";

export interface ExportSession {
  readonly client: ExportClient;
  /** Of the API, without a slash at its end. */
  readonly url: string;
  readonly signal: AbortSignal;
  /** A command line that talks to the same API, to go on with. */
  readonly commandLine: (words: string) => string;
  /** Called at a stop, to say how to go on; the latest counts. */
  onStop(tell: () => void): void;
}

/** Runs a command's work with the API that is meant. A stop ends it with exit code 1. */
export async function withExports(
  context: CommandContext,
  flags: ApiFlags,
  work: (session: ExportSession) => Promise<void>,
): Promise<void> {
  const access = await readApiAccess(context, flags);
  await whileStoppable({ context, dataDir: access.dataDir }, async (signal) => {
    const api = openApi(access);
    let tell = (): void => {};
    try {
      const tenantId = flags.tenant === undefined ? undefined : await findTenantId(api, flags.tenant, signal);
      await work({
        client: createExportClient(api, tenantId),
        url: api.url,
        signal,
        commandLine: (words) => `ectus export ${words}${flagsAgain(flags)}`,
        onStop(say) {
          tell = say;
        },
      });
    } catch (error) {
      if (!signal.aborted) {
        if (error instanceof ApiFault && error.code === "permission_denied" && flags.tenant !== undefined)
          context.stderr(
            "--tenant is for the operator's key. With an admin key of the tenant, leave it out.\n",
          );
        throw error;
      }
      tell();
      throw new CommandEnded();
    }
  });
}

function flagsAgain({ url, tenant, dataDir }: ApiFlags): string {
  let text = "";
  if (tenant !== undefined) text += ` --tenant ${quoted(tenant)}`;
  if (url !== undefined) text += ` --url ${quoted(url)}`;
  if (dataDir !== undefined) text += ` --data-dir ${quoted(dataDir)}`;
  return text;
}

/** For requests that can be sent again without harm. */
export function shortPatience(context: CommandContext): Patience {
  return {
    giveUpAfterMs: 30_000,
    pauseMs: 500,
    longestPauseMs: 5_000,
    onTrouble: ({ message }: ApiFault) => context.stderr(`${message} Trying again.\n`),
  };
}

export function parseExportId(text: string): string {
  if (!/^export-[0-9a-f]{32}$/.test(text))
    throw new InvalidArgumentError(
      "Accepts an id like export-01990000000070008000000000000000, as 'ectus export list' shows it.",
    );
  return text;
}
