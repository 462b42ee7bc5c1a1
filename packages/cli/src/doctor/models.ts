// Checks of what answers requests: the providers file, each upstream, and model files on this machine.
import { stat } from "node:fs/promises";
import {
  builtInModel,
  type LlamaCppProviderConfig,
  listModels,
  type OpenAiProviderConfig,
  type ProvidersConfig,
  readProvidersFile,
} from "@ectus/ai-engine";
import { errorMessage } from "@ectus/core";
import type { InstanceConfig } from "../instance-config.ts";
import { modelsFolder } from "../open-engine.ts";
import { type Check, fail, ok, warn } from "./check.ts";

const upstreamTimeoutMs = 5_000;

export async function checkModels({ config, environment, dataDir }: InstanceConfig): Promise<Check[]> {
  if (config.AI_PROVIDERS === undefined) return [await checkBuiltInModel(modelsFolder(dataDir))];
  let providers: ProvidersConfig;
  try {
    providers = await readProvidersFile(config.AI_PROVIDERS, environment);
  } catch (error) {
    return [
      fail(
        "providers file",
        errorMessage(error),
        "Correct the file; docs/providers.example.yaml shows all of it.",
      ),
    ];
  }
  const { size } = providers.models;
  const checks = await Promise.all(
    [...providers.providers].map(([name, provider]) =>
      provider.type === "openai" ? checkUpstream(name, provider) : checkModelFiles(name, provider),
    ),
  );
  return [ok("providers file", `${config.AI_PROVIDERS} is valid and names ${size} models`), ...checks];
}

async function checkBuiltInModel(folder: string): Promise<Check> {
  const name = "built-in model";
  const model = (await listModels(folder)).find(({ id }) => id === builtInModel);
  if (model?.path !== undefined) return ok(name, `${builtInModel} is at ${model.path}`);
  const damaged = model?.state !== "missing";
  return warn(
    name,
    `${builtInModel} ${damaged ? "is damaged" : "is not on this machine"}`,
    "Run 'ectus model pull'; the next start gets it as well, if it reaches the network.",
  );
}

async function checkModelFiles(name: string, { models }: LlamaCppProviderConfig): Promise<Check> {
  const missing: string[] = [];
  for (const path of Object.values(models)) {
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile() !== true) missing.push(path);
  }
  return missing.length === 0
    ? ok(`provider ${name}`, "its model files are here")
    : fail(
        `provider ${name}`,
        `no file ${missing.join(", ")}`,
        "Correct the paths in the providers file, or get the files; 'ectus model pull' gets the built-in one.",
      );
}

/** Asks for the list of models, which costs nothing and shows whether the key is taken. */
async function checkUpstream(name: string, provider: OpenAiProviderConfig): Promise<Check> {
  const check = `provider ${name}`;
  const url = `${provider.baseUrl.replace(/\/+$/, "")}/models`;
  let status: number;
  try {
    const answer = await fetch(url, {
      headers: {
        ...provider.headers,
        ...(provider.apiKey === undefined ? {} : { authorization: `Bearer ${provider.apiKey}` }),
      },
      redirect: "manual",
      signal: AbortSignal.timeout(upstreamTimeoutMs),
    });
    status = answer.status;
    await answer.body?.cancel();
  } catch (error) {
    return warn(
      check,
      `${withoutCredentials(url)} cannot be reached (${reasonOf(error)})`,
      "Check its baseUrl, that it runs, and that this machine may connect to it. Requests go to a model's other routes meanwhile.",
    );
  }
  if (status === 401 || status === 403)
    return warn(
      check,
      `${withoutCredentials(url)} refuses the key (${status})`,
      "Put a valid key into its apiKey, or into the environment variable that it names.",
    );
  if (status >= 500 || status === 429)
    return warn(
      check,
      `${withoutCredentials(url)} answers ${status}`,
      "Look at that server; try again later.",
    );
  // Not every upstream has a list of models.
  return ok(check, `${withoutCredentials(url)} answers (${status})`);
}

function reasonOf(error: unknown): string {
  // fetch says "fetch failed"; why is in its cause.
  return errorMessage(error instanceof Error && error.cause !== undefined ? error.cause : error);
}

function withoutCredentials(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}
