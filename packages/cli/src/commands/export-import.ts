// `ectus export import`: takes a bag into the instance, as the tenant that it is of or as a new one.
import type { BagReport } from "@ectus/bag";
import type { ImportResult } from "@ectus/database";
import type { Command } from "commander";
import { checkSource } from "../bag-check.ts";
import type { CommandContext } from "../command-context.ts";
import { storageUrl } from "../data-dir.ts";
import { CommandFault } from "../exit-codes.ts";
import { exportIdOf } from "../export-text.ts";
import {
  commandLogging,
  type InstanceFlags,
  readInstanceConfig,
  withInstanceFlags,
} from "../instance-config.ts";
import { parseName } from "../option-values.ts";
import { facts, print, printable, table } from "../output.ts";
import { createProgressBar } from "../progress-bar.ts";
import { readSigningKeys } from "../read-signing-keys.ts";
import { whileStoppable } from "../stop-signals.ts";

interface ImportFlags extends InstanceFlags {
  readonly asNewTenant?: boolean;
  readonly tenantName?: string;
  readonly keys?: string;
  readonly allowUnknownSigner?: boolean;
}

export function addImport(group: Command, context: CommandContext): void {
  withInstanceFlags(group.command("import"))
    .description("take an export into this instance: all of it with the same counts and digests, or nothing")
    .argument("<bag>", "its folder, or its tar file")
    .option("--as-new-tenant", "give the tenant a new id, so that it can be beside the one that was exported")
    .option("--tenant-name <name>", "call the tenant so, instead of as it was called", parseName)
    .option("--keys <file>", "the answer of /v1/signing-keys of the instance that made the export, saved")
    .option("--allow-unknown-signer", "import also what none of the known keys has signed")
    .addHelpText(
      "after",
      `
The export is verified first. It must be signed by a key of this instance or one in --keys. API keys come without their
secrets and cannot be used: make new ones. The instance may run meanwhile; the tenant appears when all of it is there.

Examples:
  ectus export import acme-corp-2026-11-24-0199.tar --keys keys.json
  ectus export import acme-corp-2026-11-24-0199 --as-new-tenant --tenant-name 'Acme, a copy'`,
    )
    .action((path: string, flags: ImportFlags) => runImport(context, path, flags));
}

const poolSize = 1;

async function runImport(context: CommandContext, path: string, flags: ImportFlags): Promise<void> {
  // Only here: the other commands of exports are clients of the API, and do without a database.
  const [{ openBag }, { importBag, listSigningKeys, openDatabase }, { openStorage }, instances] =
    await Promise.all([
      import("@ectus/bag"),
      import("@ectus/database"),
      import("@ectus/storage"),
      import("../open-instance-database.ts"),
    ]);
  const given = flags.keys === undefined ? [] : await readSigningKeys(flags.keys);
  const instance = readInstanceConfig(context, flags);
  const logging = commandLogging(context, instance);
  await whileStoppable({ context, dataDir: instance.dataDir }, async (signal) => {
    await using opened = new AsyncDisposableStack();
    const source = opened.use(await openBag(path, signal));
    const found = await instances.openInstanceDatabase({ instance, log: logging.module("postgres"), signal });
    opened.defer(() => found.close());
    await instances.refuseOtherSchema(found);
    const database = openDatabase({ url: found.url, poolSize, log: logging.module("database") });
    opened.defer(() => database.close());
    const known = [...given, ...(await listSigningKeys(database))].map(({ kid }) => kid);
    // Without keys: who signed is asked after, so that a signer that is unknown is told apart from a bag that is damaged.
    const checked = await checkSource(source, { keys: [], signal, output: context.progressOutput });
    const report = judged(checked, known);
    refuseUnknownSigner(report, flags);
    const store = await openStorage(storageUrl(instance), instance.environment);
    const bar = createProgressBar({ output: context.progressOutput, label: "Importing" });
    try {
      const result = await importBag({
        ownerUrl: found.ownerUrl,
        source,
        report,
        store,
        log: logging.module("database"),
        signal,
        asNewTenant: flags.asNewTenant === true,
        ...(flags.tenantName === undefined ? {} : { tenantName: flags.tenantName }),
        onProgress: (progress) => bar.update(progress),
      });
      bar.end();
      print(context, flags, toObject(result, report), () => resultText(result, report));
    } finally {
      bar.end();
    }
  });
}

/** A key's id is its thumbprint, so whoever has the id has the key. */
function judged(report: BagReport, known: readonly string[]): BagReport {
  const { state, kid } = report.signature;
  return state === "unknown_key" && kid !== undefined && known.includes(kid)
    ? { ...report, signature: { state: "valid", kid } }
    : report;
}

function refuseUnknownSigner({ ok, signature }: BagReport, flags: ImportFlags): void {
  // Of a bag with faults, the import says which.
  if (!ok || signature.state === "valid" || flags.allowUnknownSigner === true) return;
  const where = flags.keys === undefined ? "this instance" : `this instance or ${printable(flags.keys)}`;
  throw new CommandFault(
    `The export is whole, but signed by ${signature.kid}, which is no key of ${where}: anybody could have made it. Give the keys of the instance that made it with --keys, or --allow-unknown-signer if you know where it is from.`,
    "signer_unknown",
  );
}

function toObject(result: ImportResult, { signature }: BagReport) {
  return {
    object: "import",
    tenant_id: result.tenantId,
    tenant_name: result.tenantName,
    export_id: exportIdOf(result.exportId),
    signature: signature.state,
    signed_by: signature.kid ?? null,
    tables: result.tables,
    files: result.files,
    unusable_api_keys: result.unusableKeys,
  } as const;
}

function resultText(result: ImportResult, { signature }: BagReport): string {
  const { tenantId, tenantName, exportId, tables, files, unusableKeys } = result;
  const signer = signature.state === "valid" ? "" : " (not known here)";
  const blocks = [
    facts([
      ["tenant", `${tenantName} (${tenantId})`],
      ["export", exportIdOf(exportId)],
      ["signed by", `${signature.kid ?? "nobody"}${signer}`],
      ["files", files.toLocaleString("en-US")],
    ]),
    table(
      ["TABLE", "ROWS"],
      tables.map(({ name, rows }) => [name, rows.toLocaleString("en-US")]),
    ),
    "All counts and digests are those of the export.",
  ];
  if (unusableKeys > 0) {
    const what = unusableKeys === 1 ? "1 API key was" : `${unusableKeys} API keys were`;
    blocks.push(
      `${what} imported without the secret and cannot be used. Make new ones with: ectus key create <name> --tenant ${tenantId}`,
    );
  }
  return blocks.join("\n\n");
}
