// The AI engine of an instance: from the providers file, or with the built-in model, which is fetched if it is missing.
import { join } from "node:path";
import {
  builtInModel,
  createEngine,
  createProviders,
  defaultProviders,
  type Engine,
  type ProvidersConfig,
  pullModel,
  readProvidersFile,
} from "@ectus/ai-engine";
import { type Config, currentContext, EctusError, type Logger } from "@ectus/core";
import type { ProgressBar } from "./progress-bar.ts";

export interface OpenEngineOptions {
  readonly config: Config;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly dataDir: string;
  readonly offline: boolean;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly progress: () => ProgressBar;
}

export const modelsFolder = (dataDir: string): string => join(dataDir, "models");

export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const { log } = options;
  const config = await readProviders(options);
  const llamaCpp = { cacheScope: () => currentContext()?.tenantId };
  return createEngine({ config, providers: await createProviders({ config, log, llamaCpp }), log });
}

async function readProviders(options: OpenEngineOptions): Promise<ProvidersConfig> {
  const { config, environment, dataDir, log } = options;
  if (config.AI_PROVIDERS !== undefined) return readProvidersFile(config.AI_PROVIDERS, environment);
  try {
    return defaultProviders({ modelPath: await fetchModel(options) });
  } catch (error) {
    if (!(error instanceof EctusError && error.code === "model_unavailable")) throw error;
    log.warn(
      { reason: error.message, folder: modelsFolder(dataDir) },
      "no built-in model; only upstream providers can answer, and AI_PROVIDERS names none",
    );
    return { providers: new Map(), models: new Map() };
  }
}

async function fetchModel({ dataDir, offline, log, signal, progress }: OpenEngineOptions): Promise<string> {
  let bar: ProgressBar | undefined;
  try {
    return await pullModel({
      modelsDir: modelsFolder(dataDir),
      id: builtInModel,
      signal,
      log,
      offline,
      onProgress: (state) => {
        bar ??= progress();
        bar.update(state);
      },
    });
  } finally {
    bar?.end();
  }
}
