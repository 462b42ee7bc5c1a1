// `ectus export verify`: checks a bag without any server.
import type { Command } from "commander";
import { checkBag, reportText } from "../bag-check.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandEnded } from "../exit-codes.ts";
import { type InstanceFlags, readInstanceConfig, withJsonFlag } from "../instance-config.ts";
import { print } from "../output.ts";
import { readSigningKeys } from "../read-signing-keys.ts";
import { whileStoppable } from "../stop-signals.ts";

interface VerifyFlags extends InstanceFlags {
  readonly keys?: string;
}

export function addVerify(group: Command, context: CommandContext): void {
  withJsonFlag(group.command("verify"))
    .description("check offline that an export is whole and unchanged, and who signed it")
    .argument("<bag>", "its folder, or its tar file")
    .option("--keys <file>", "the answer of /v1/signing-keys, saved; without it, who signed is not proved")
    .addHelpText(
      "after",
      `
Asks nothing of any server. Exit code 1 if anything is missing, was added or changed, or none of the keys in --keys has
signed it.

Examples:
  ectus export verify acme-corp-2026-11-24-0199.tar
  ectus export verify acme-corp-2026-11-24-0199 --keys keys.json`,
    )
    .action((path: string, flags: VerifyFlags) =>
      whileStoppable({ context, dataDir: readInstanceConfig(context, {}).dataDir }, async (signal) => {
        const keys = flags.keys === undefined ? [] : await readSigningKeys(flags.keys);
        const report = await checkBag(path, { keys, signal, output: context.progressOutput });
        print(context, flags, { ...report }, () => reportText(report));
        if (!report.ok) throw new CommandEnded();
      }),
    );
}
