// Makes the providers that a configuration names. What each costs to load is loaded only if it is named: the native
// library of node-llama-cpp takes a third of a second.
import type { Logger } from "@ectus/core";
import { type Instruments, noInstruments } from "@ectus/monitoring";
import { measureModelLoads } from "./metrics.ts";
import type { Provider } from "./provider.ts";
import type { LlamaCppOptions } from "./providers/llama-cpp/index.ts";
import type { LlamaCppProviderConfig, OpenAiProviderConfig, ProvidersConfig } from "./providers-config.ts";

export interface CreateProvidersOptions {
  readonly config: ProvidersConfig;
  readonly log: Logger;
  /** Passed to llama.cpp providers: whose call this is, what to do when a model was loaded, threads. */
  readonly llamaCpp?: Pick<LlamaCppOptions, "cacheScope" | "onModelLoaded" | "threads">;
  /** What is measured goes here; by default nothing is. */
  readonly instruments?: Instruments;
  /** The maker of llama.cpp providers; the built-in one by default. */
  readonly createLlamaCpp?: (options: LlamaCppOptions) => Provider;
}

/**
 * Providers by name, for `createEngine`, which closes them. No connection is made yet; models of llama.cpp begin to
 * load if they are to be preloaded.
 */
export async function createProviders(options: CreateProvidersOptions): Promise<Map<string, Provider>> {
  const { config, log } = options;
  const providers = new Map<string, Provider>();
  try {
    for (const [name, settings] of config.providers) {
      providers.set(
        name,
        settings.type === "openai"
          ? await createOpenAi(name, settings, log)
          : await createLlamaCpp(name, settings, options),
      );
    }
  } catch (error) {
    await Promise.all([...providers.values()].map((provider) => provider.close()));
    throw error;
  }
  return providers;
}

async function createOpenAi(name: string, settings: OpenAiProviderConfig, log: Logger): Promise<Provider> {
  const { createOpenAiProvider } = await import("./providers/openai/index.ts");
  return createOpenAiProvider({ ...settings, name, log });
}

async function createLlamaCpp(
  name: string,
  settings: LlamaCppProviderConfig,
  options: CreateProvidersOptions,
): Promise<Provider> {
  const make =
    options.createLlamaCpp ?? (await import("./providers/llama-cpp/index.ts")).createLlamaCppProvider;
  const { models, sequences, queue, contextTokens, preload } = settings;
  const onModelLoaded = withMeasuredLoads(name, options);
  return make({
    ...options.llamaCpp,
    ...(onModelLoaded === undefined ? {} : { onModelLoaded }),
    name,
    models,
    sequences,
    queueBound: queue,
    contextTokens,
    preload,
    log: options.log,
  });
}

function withMeasuredLoads(
  provider: string,
  { config, llamaCpp, instruments = noInstruments }: CreateProvidersOptions,
): LlamaCppOptions["onModelLoaded"] {
  if (!instruments.enabled) return llamaCpp?.onModelLoaded;
  const measure = measureModelLoads(instruments, config.models);
  return (event) => {
    measure({ provider, ...event });
    llamaCpp?.onModelLoaded?.(event);
  };
}
