// What the engine is built from: providers and models with their prices and routes. providers-file.ts makes it from
// a file; an instance that has none gets the built-in model.
import type { Operation } from "./provider.ts";
import type { ModelPrice } from "./usage.ts";

export interface ProvidersConfig {
  readonly providers: ReadonlyMap<string, ProviderConfig>;
  readonly models: ReadonlyMap<string, ModelConfig>;
}

export type ProviderConfig = OpenAiProviderConfig | LlamaCppProviderConfig;

export interface OpenAiProviderConfig {
  readonly type: "openai";
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly streamIdleTimeoutMs: number;
  readonly maxConcurrent: number;
  readonly queue: number;
  readonly retries: number;
}

export interface LlamaCppProviderConfig {
  readonly type: "llama.cpp";
  /** GGUF files by model name. */
  readonly models: Readonly<Record<string, string>>;
  /** Calls that run at a time. */
  readonly sequences: number;
  readonly queue: number;
  /** Tokens that one sequence holds. */
  readonly contextTokens: number;
  /** Loads the models at start, not at the first call. */
  readonly preload: boolean;
}

export interface ModelConfig {
  readonly operations: readonly Operation[];
  readonly contextTokens: number | undefined;
  readonly maxOutputTokens: number | undefined;
  readonly price: ModelPrice | undefined;
  readonly ownedBy: string | undefined;
  /** In the order in which they are tried. */
  readonly routes: readonly { readonly provider: string; readonly model: string }[];
}

/** What a provider is called in models without a file, and its model. */
const builtInProvider = "local";
export const builtInModel = "smollm2-135m-instruct";

/** The built-in model only, for an instance without a providers file. */
export function defaultProviders({ modelPath }: { readonly modelPath: string }): ProvidersConfig {
  return {
    providers: new Map([
      [
        builtInProvider,
        {
          type: "llama.cpp",
          models: { [builtInModel]: modelPath },
          sequences: 4,
          queue: 64,
          contextTokens: 2048,
          preload: true,
        },
      ],
    ]),
    models: new Map([
      [
        builtInModel,
        {
          operations: ["chat", "embeddings"],
          contextTokens: 2048,
          maxOutputTokens: undefined,
          price: undefined,
          ownedBy: undefined,
          routes: [{ provider: builtInProvider, model: builtInModel }],
        },
      ],
    ]),
  };
}
