// `ectus export`: has a tenant's data exported, and takes it home. All but `verify` and `import` are clients of the API.
import { randomUUID } from "node:crypto";
import type { Compression, RowFormat } from "@ectus/bag";
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import { type ApiFlags, accessHelp, withApiFlags } from "../api-access.ts";
import { ApiFault, patiently } from "../api-client.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandEnded } from "../exit-codes.ts";
import type { ExportObject, WantedExport } from "../export-client.ts";
import { showExportProgress } from "../export-progress.ts";
import { type ExportSession, parseExportId, shortPatience, withExports } from "../export-session.ts";
import { exportsText, exportText } from "../export-text.ts";
import { parsePageSize, parseTime } from "../option-values.ts";
import { print, printable } from "../output.ts";
import { waitForExport } from "../wait-for-export.ts";
import { addDownload, checkOutput, downloadBag, downloadText } from "./export-download.ts";
import { addImport } from "./export-import.ts";
import { addVerify } from "./export-verify.ts";

interface CreateFlags extends ApiFlags {
  readonly format?: RowFormat;
  readonly compression?: Compression;
  readonly tables?: readonly string[];
  readonly files?: boolean;
  readonly auditLog?: boolean;
  readonly from?: string;
  readonly to?: string;
  readonly subject?: string;
  readonly idempotencyKey?: string;
  readonly wait?: boolean;
  readonly download?: string | true;
  readonly force?: boolean;
}

export function addExport(program: Command, context: CommandContext): void {
  const group = program
    .command("export")
    .description("take out all that is a tenant's, with proof that it is complete")
    .addHelpText(
      "after",
      `${accessHelp}

Examples:
  ectus export create --wait --download
  ectus export status export-01990000000070008000000000000000 --wait
  ectus export download export-01990000000070008000000000000000
  ectus export verify acme-corp-2026-11-24-0199.tar`,
    );
  addCreate(group, context);

  withApiFlags(group.command("list"))
    .description("list exports, the newest first")
    .option("--limit <count>", "how many at most", parsePageSize, 20)
    .option("--after <id>", "those that are older than this one", parseExportId)
    .addHelpText("after", "\nExamples:\n  ectus export list\n  ectus export list --tenant 'Acme Corp' --json")
    .action((flags: ApiFlags & { readonly limit: number; readonly after?: string }) =>
      withExports(context, flags, async ({ client, signal, commandLine }) => {
        const { data, has_more } = await client.list(flags, signal);
        const ends = { first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
        print(context, flags, { object: "list", data, ...ends, has_more }, () => {
          if (data.length === 0 && flags.after !== undefined) return "There are no older ones.";
          if (data.length === 0) return `There are no exports. Make one with: ${commandLine("create")}`;
          const more = has_more
            ? `\n\nThere are older ones: ${commandLine(`list --limit ${flags.limit} --after ${printable(ends.last_id ?? "")}`)}`
            : "";
          return exportsText(data) + more;
        });
      }),
    );

  withApiFlags(group.command("status"))
    .description("show an export and how far it is")
    .addArgument(idArgument())
    .option("--wait", "wait until it is ready or has failed")
    .addHelpText(
      "after",
      "\nExamples:\n  ectus export status export-01990000000070008000000000000000\n  ectus export status export-01990000000070008000000000000000 --wait",
    )
    .action((id: string, flags: ApiFlags & { readonly wait?: boolean }) =>
      withExports(context, flags, async (session) => {
        if (flags.wait === true) {
          const state = await wait(context, session, id);
          print(context, flags, { ...state }, () => exportText(state));
          failUnlessReady(context, state);
        } else {
          const state = await session.client.get(id, session.signal);
          print(context, flags, { ...state }, () => exportText(state));
        }
      }),
    );

  addDownload(group, context);

  withApiFlags(group.command("delete"))
    .description("remove an export, also one that runs")
    .addArgument(idArgument())
    .addHelpText("after", "\nExample:\n  ectus export delete export-01990000000070008000000000000000")
    .action((id: string, flags: ApiFlags) =>
      withExports(context, flags, async ({ client, signal }) => {
        const answer = await client.remove(id, signal);
        print(context, flags, answer, () => `The export ${id} is removed.`);
      }),
    );

  addVerify(group, context);
  addImport(group, context);
}

const idArgument = (): Argument => new Argument("<id>", "id of the export").argParser(parseExportId);

// The newest: those that are not finished are among them.
const mostLookedThrough = 20;

function addCreate(group: Command, context: CommandContext): void {
  withApiFlags(group.command("create"))
    .description("have a tenant's data exported: all of it, or what is named")
    .addOption(new Option("--format <format>", "how rows are written").choices(["ndjson", "csv"]))
    .addOption(
      new Option("--compression <method>", "how parts are compressed").choices(["none", "gzip", "zstd"]),
    )
    .option("--tables <names>", "only these tables, separated by commas", parseTables)
    .option("--files", "only uploaded files, and what else is named")
    .option("--audit-log", "only the audit log, and what else is named")
    .option("--from <time>", "only what is from then on, as 2026-01-31 or 2026-01-31T12:00:00Z", parseTime)
    .option("--to <time>", "only what is from before then", parseTime)
    .option("--subject <person>", "only what is about one person: an end user, a user's id or e-mail address")
    .option(
      "--idempotency-key <key>",
      "with the same key, the same export is given again",
      parseIdempotencyKey,
    )
    .option("--wait", "wait until it is ready, and show how far it is")
    .option("--download [path]", "wait, then download it to a file or into a folder, and verify it")
    .option("--force", "with --download: replace a file that is there")
    .addHelpText(
      "after",
      `
Examples:
  ectus export create --wait --download
  ectus export create --tenant 'Acme Corp' --format csv --compression zstd
  ectus export create --tables completions,messages --from 2026-01-01 --to 2026-02-01
  ectus export create --subject ada@example.com --wait`,
    )
    .action((flags: CreateFlags) =>
      withExports(context, flags, (session) => create(context, session, flags)),
    );
}

async function create(context: CommandContext, session: ExportSession, flags: CreateFlags): Promise<void> {
  const { client, signal, commandLine } = session;
  const output = flags.download === true ? undefined : flags.download;
  // Not after an hour of waiting.
  if (flags.download !== undefined) await checkOutput(output, flags.force === true);
  const key = flags.idempotencyKey ?? randomUUID();
  session.onStop(() =>
    context.stderr(`It may have been asked for already. See with: ${commandLine("list")}\n`),
  );
  const made = await patiently(
    () => client.create(wantedOf(flags), key, signal),
    shortPatience(context),
    signal,
  ).catch(async (error) => {
    if (error instanceof ApiFault && error.code === "too_many_exports")
      await tellUnfinished(context, session);
    throw error;
  });
  session.onStop(() => {});
  if (flags.wait !== true && flags.download === undefined) {
    print(
      context,
      flags,
      { ...made },
      () => `${exportText(made)}\n\nWait for it with: ${commandLine(`status ${made.id} --wait`)}`,
    );
    return;
  }
  const state = await wait(context, session, made.id);
  if (flags.download === undefined || state.state !== "ready") {
    print(context, flags, { ...state }, () => exportText(state));
    failUnlessReady(context, state);
    return;
  }
  const download = await downloadBag(context, session, state, {
    output,
    force: flags.force === true,
    verify: true,
  });
  print(
    context,
    flags,
    { ...state, download },
    () => `${exportText(state)}\n\n${downloadText(download, session)}`,
  );
  if (download.report?.ok === false) throw new CommandEnded();
}

/** Which ones are in the way of another, and what can be done about each. */
async function tellUnfinished(
  { stderr }: CommandContext,
  { client, signal, commandLine }: ExportSession,
): Promise<void> {
  // What failed was the request before; this only adds to it.
  const list = await client.list({ limit: mostLookedThrough }, signal).catch(() => undefined);
  for (const { id, state } of list?.data ?? []) {
    if (state !== "queued" && state !== "running") continue;
    const shown = printable(id);
    stderr(
      `The export ${shown} ${state === "queued" ? "waits" : "runs"}. Wait for it with: ${commandLine(`status ${shown} --wait`)}\nDelete it with: ${commandLine(`delete ${shown}`)}\n`,
    );
  }
}

/** Waits with a picture of how far it is; a stop, or a fault of the API, says how to go on. */
async function wait(context: CommandContext, session: ExportSession, id: string): Promise<ExportObject> {
  const { client, signal, commandLine } = session;
  const progress = showExportProgress(context.progressOutput);
  const tell = (): void =>
    context.stderr(
      `The export goes on without this command. Wait for it with: ${commandLine(`status ${id} --wait`)}\nStop it with: ${commandLine(`delete ${id}`)}\n`,
    );
  session.onStop(tell);
  try {
    const state = await waitForExport({
      client,
      id,
      signal,
      onState: progress.update,
      onNote: progress.note,
    });
    session.onStop(() => {});
    return state;
  } catch (error) {
    progress.end();
    if (error instanceof ApiFault && error.status !== 404) tell();
    throw error;
  } finally {
    progress.end();
  }
}

function failUnlessReady({ stderr }: CommandContext, { state, error }: ExportObject): void {
  if (state === "ready") return;
  stderr(`ectus: ${error === null ? `The export is ${state}.` : error.message}\n`);
  throw new CommandEnded();
}

/** Only what was said: the rest is the server's to choose. */
function wantedOf(flags: CreateFlags): WantedExport {
  const { format, compression, tables, files, auditLog, from, to, subject } = flags;
  const scope = without({ tables, files, audit_log: auditLog, from, to, subject });
  return without({ format, compression, scope: Object.keys(scope).length === 0 ? undefined : scope });
}

/** An object without what is undefined. */
function without<T extends object>(fields: T): { [Name in keyof T]?: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Name in keyof T]?: Exclude<T[Name], undefined>;
  };
}

function parseIdempotencyKey(text: string): string {
  if (!/^[\x21-\x7e]{1,255}$/.test(text))
    throw new InvalidArgumentError("Accepts 1 to 255 visible ASCII characters, without spaces.");
  return text;
}

function parseTables(text: string): readonly string[] {
  const names = text.split(",").map((name) => name.trim());
  if (!names.every((name) => /^[a-z][a-z0-9_]{0,62}$/.test(name)))
    throw new InvalidArgumentError(
      "Accepts names of tables, separated by commas, as in completions,messages.",
    );
  return [...new Set(names)];
}
