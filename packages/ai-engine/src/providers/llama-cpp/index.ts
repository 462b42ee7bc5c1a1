// The built-in provider: llama.cpp in this process.
export {
  createLlamaCppProvider,
  type LlamaCppOptions,
  type LlamaCppProvider,
  type ModelLoaded,
} from "./provider.ts";
