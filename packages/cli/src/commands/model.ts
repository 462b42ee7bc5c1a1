// `ectus model`: lists the models that the platform can get by itself, and gets them.
import { builtInModel, listModels, type ModelListing, pullModel } from "@ectus/ai-engine";
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import {
  commandLogging,
  type InstanceFlags,
  readInstanceConfig,
  withInstanceFlags,
} from "../instance-config.ts";
import { modelsFolder } from "../open-engine.ts";
import { print, table } from "../output.ts";
import { createProgressBar, type ProgressBar } from "../progress-bar.ts";
import { whileStoppable } from "../stop-signals.ts";

interface PullFlags extends InstanceFlags {
  readonly offline?: boolean;
}

export function addModel(program: Command, context: CommandContext): void {
  const model = program
    .command("model")
    .description("list and get models")
    .addHelpText("after", "\nExamples:\n  ectus model list\n  ectus model pull");

  withInstanceFlags(model.command("list"))
    .description("list the models that can be got, and which of them are here")
    .addHelpText("after", "\nExamples:\n  ectus model list\n  ectus model list --json")
    .action(async (flags: InstanceFlags) => {
      const { dataDir } = readInstanceConfig(context, flags);
      const models = await listModels(modelsFolder(dataDir));
      print(context, flags, { object: "list", data: models.map(toObject), has_more: false }, () =>
        table(
          ["ID", "STATE", "SIZE", "LICENSE", "PATH"],
          models.map(({ id, state, bytes, license, path }) => [
            id,
            stateTexts[state],
            megabytes(bytes),
            license,
            path ?? "-",
          ]),
        ),
      );
    });

  const pull = withInstanceFlags(model.command("pull"))
    .description("get a model, checked by its digest; one that was cut off goes on where it was")
    .argument("[id]", "which model", builtInModel)
    .option("--offline", "ask nothing of the network")
    .addHelpText("after", `\nExamples:\n  ectus model pull\n  ectus model pull ${builtInModel} --offline`);
  pull.action(async (id: string, flags: PullFlags) => {
    const instance = readInstanceConfig(context, flags);
    const { dataDir } = instance;
    const modelsDir = modelsFolder(dataDir);
    const known = (await listModels(modelsDir)).map((listed) => listed.id);
    if (!known.includes(id)) pull.error(`error: unknown model '${id}'. Accepts ${known.join(", ")}.`);
    await whileStoppable({ context, dataDir }, async (signal) => {
      const log = commandLogging(context, instance).module("ai-engine");
      let bar: ProgressBar | undefined;
      try {
        const path = await pullModel({
          modelsDir,
          id,
          signal,
          log,
          offline: flags.offline === true,
          onProgress(state) {
            bar ??= createProgressBar({ output: context.progressOutput, label: id });
            bar.update(state);
          },
        });
        print(context, flags, { object: "model", id, path }, () => `The model ${id} is at ${path}.`);
      } finally {
        bar?.end();
      }
    });
  });
}

const stateTexts: Readonly<Record<ModelListing["state"], string>> = {
  right: "here",
  missing: "not here",
  "wrong size": "damaged",
  "wrong digest": "damaged",
};

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

function toObject({ id, file, bytes, license, path, state }: ModelListing) {
  return { id, object: "model", file, bytes, license, path: path ?? null, state } as const;
}
