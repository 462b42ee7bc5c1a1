// `ectus export download`: takes a bag home as one tar file, goes on with what was cut off, and verifies it.
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { BagReport } from "@ectus/bag";
import { Argument, type Command } from "commander";
import { type ApiFlags, accessHelp, withApiFlags } from "../api-access.ts";
import { patiently, strangeAnswer } from "../api-client.ts";
import { checkBag, reportText } from "../bag-check.ts";
import type { CommandContext } from "../command-context.ts";
import { downloadFile } from "../download-file.ts";
import { CommandEnded, CommandFault } from "../exit-codes.ts";
import type { ExportObject } from "../export-client.ts";
import { type ExportSession, parseExportId, shortPatience, withExports } from "../export-session.ts";
import { fileFault } from "../file-fault.ts";
import { print, printable, quoted } from "../output.ts";
import { createProgressBar } from "../progress-bar.ts";

interface DownloadFlags extends ApiFlags {
  readonly output?: string;
  readonly force?: boolean;
  readonly verify: boolean;
}

export function addDownload(group: Command, context: CommandContext): void {
  withApiFlags(group.command("download"))
    .description(
      "download an export as one tar file, and verify it; one that was cut off goes on where it was",
    )
    .addArgument(new Argument("<id>", "id of the export").argParser(parseExportId))
    .option("--output <path>", "a file, or a folder for a file with the bag's name (default: this folder)")
    .option("--force", "replace a file that is there")
    .option("--no-verify", "only download")
    .addHelpText(
      "after",
      `${accessHelp}

Examples:
  ectus export download export-01990000000070008000000000000000
  ectus export download export-01990000000070008000000000000000 --output /backup/`,
    )
    .action((id: string, flags: DownloadFlags) =>
      withExports(context, flags, async (session) => {
        const { client, signal } = session;
        const state = await patiently(() => client.get(id, signal), shortPatience(context), signal);
        const { output, force = false, verify } = flags;
        const download = await downloadBag(context, session, state, { output, force, verify });
        print(context, flags, { ...download }, () => downloadText(download, session));
        if (download.report?.ok === false) throw new CommandEnded();
      }),
    );
}

export interface BagDownload {
  readonly object: "export.download";
  readonly id: string;
  readonly file: string;
  readonly bytes: number;
  /** How much of it was there from an earlier try. */
  readonly resumed_from: number;
  /** Null if it was not verified. */
  readonly report: BagReport | null;
}

export interface BagDownloadOptions {
  readonly output: string | undefined;
  readonly force: boolean;
  readonly verify: boolean;
}

export async function downloadBag(
  context: CommandContext,
  session: ExportSession,
  state: ExportObject,
  { output, force, verify }: BagDownloadOptions,
): Promise<BagDownload> {
  const { client, url, signal } = session;
  const { id } = state;
  const path = await targetOf(output, tarName(state, session));
  await checkTarget(path, force);
  const bar = createProgressBar({ output: context.progressOutput, label: "Downloading" });
  const place = output === undefined ? "" : ` --output ${quoted(output)}`;
  session.onStop(() =>
    context.stderr(
      `What is here stays. Go on from it with: ${session.commandLine(`download ${id}${place}`)}\n`,
    ),
  );
  const downloaded = await downloadFile({
    path,
    // Wherever it is had from: its ETag is a digest.
    source: id,
    request: (headers, within) => client.download(id, headers, within),
    signal,
    onProgress: (progress) => bar.update({ source: url, ...progress }),
    onNote: bar.note,
  }).finally(() => bar.end());
  session.onStop(() => context.stderr(`The download is complete: ${printable(path)}\n`));
  const report = verify ? await verifyDownload(context, session, path) : null;
  const { bytes, resumedFrom } = downloaded;
  return { object: "export.download", id, file: path, bytes, resumed_from: resumedFrom, report };
}

async function verifyDownload(
  context: CommandContext,
  { client, signal }: ExportSession,
  path: string,
): Promise<BagReport> {
  try {
    const keys = await patiently(() => client.signingKeys(signal), shortPatience(context), signal);
    return await checkBag(path, { keys, signal, output: context.progressOutput });
  } catch (error) {
    if (!signal.aborted)
      context.stderr(`The download is complete, but could not be verified: ${printable(path)}\n`);
    throw error;
  }
}

export function downloadText(
  { id, file, bytes, resumed_from, report }: BagDownload,
  { url, commandLine }: Pick<ExportSession, "url" | "commandLine">,
): string {
  const resumed = resumed_from > 0 ? `, ${resumed_from} of them from before` : "";
  const done = `Downloaded ${printable(file)} (${bytes} bytes${resumed}).`;
  if (report === null) return done;
  const checked = `${done}\n\n${reportText(report, `of ${url}`)}`;
  if (report.ok) return checked;
  return `${checked}\nDownload it once more with: ${commandLine(`download ${id} --output ${quoted(file)} --force`)}`;
}

/** What the file is called by default: never a path, whatever the server says. */
function tarName({ id, state, bag, error }: ExportObject, { url, commandLine }: ExportSession): string {
  if (bag === null || state !== "ready") {
    const reason = {
      queued: `it waits. Wait for it with: ${commandLine(`status ${id} --wait`)}`,
      running: `it runs. Wait for it with: ${commandLine(`status ${id} --wait`)}`,
      failed: `it failed. ${error?.message ?? ""}`,
      expired: "it expired. Make a new one with: ectus export create",
      ready: "it has no bag.",
    }[state];
    throw new CommandFault(
      `There is nothing to download of the export ${id}: ${printable(reason ?? state)}`,
      "export_not_ready",
    );
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/.test(bag.name))
    throw strangeAnswer(url, 200, `a bag's name that cannot be a file's: ${bag.name}`);
  return `${bag.name}.tar`;
}

async function targetOf(output: string | undefined, name: string): Promise<string> {
  if (output === undefined) return resolve(name);
  const found = await statOf(output);
  if (found?.isDirectory() === true) return resolve(join(output, name));
  if (output.endsWith("/")) throw fileFault({ code: found === undefined ? "ENOENT" : "ENOTDIR" }, output);
  return resolve(output);
}

/**
 * Tells before the work what would else end it: a file that is there already, a folder that is not, or is another's.
 *
 * @param output as it was given; undefined for the current folder
 */
export async function checkOutput(output: string | undefined, force: boolean): Promise<void> {
  const folder = output ?? ".";
  if ((await statOf(folder))?.isDirectory() === true) await checkFolder(folder);
  else await checkTarget(await targetOf(output, ""), force);
}

async function checkTarget(path: string, force: boolean): Promise<void> {
  const found = await statOf(path);
  if (found?.isDirectory() === true) throw fileFault({ code: "EISDIR" }, path);
  if (found !== undefined && !force)
    throw new CommandFault(
      `${printable(path)} is there already. Name another place, or replace it with --force.`,
      "file_exists",
    );
  await checkFolder(dirname(path), path);
}

async function checkFolder(folder: string, path: string = folder): Promise<void> {
  await access(folder, constants.W_OK | constants.X_OK).catch((error) => {
    throw fileFault(error, path);
  });
}

async function statOf(path: string) {
  return stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw fileFault(error, path);
  });
}
