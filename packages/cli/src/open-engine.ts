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
import { type Config, currentContext, EctusError, type Environment, type Logger } from "@ectus/core";
import { type Instruments, noInstruments } from "@ectus/monitoring";
import type { ProgressBar } from "./progress-bar.ts";

export interface OpenEngineOptions {
  /** What the providers file says; undefined for the built-in model. */
  readonly providers: ProvidersConfig | undefined;
  readonly dataDir: string;
  readonly offline: boolean;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly progress: () => ProgressBar;
  /** What is measured goes here; by default nothing is. */
  readonly instruments?: Instruments;
}

export const modelsFolder = (dataDir: string): string => join(dataDir, "models");

export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const { log, instruments = noInstruments } = options;
  const config = options.providers ?? (await describeBuiltInModel(options));
  const llamaCpp = { cacheScope: () => currentContext()?.tenantId };
  const providers = await createProviders({ config, log, llamaCpp, instruments });
  return createEngine({ config, providers, log, instruments });
}

/**
 * What the file says that AI_PROVIDERS names; undefined if it names none.
 *
 * @throws EctusError `invalid_config` that lists every fault of the file
 */
export async function readProviders(
  { AI_PROVIDERS }: Config,
  environment: Environment,
): Promise<ProvidersConfig | undefined> {
  return AI_PROVIDERS === undefined ? undefined : readProvidersFile(AI_PROVIDERS, environment);
}

async function describeBuiltInModel(options: OpenEngineOptions): Promise<ProvidersConfig> {
  const { dataDir, log } = options;
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
