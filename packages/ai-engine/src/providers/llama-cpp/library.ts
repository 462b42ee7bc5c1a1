// node-llama-cpp, imported when the first model is loaded: the import alone takes longer than the rest of a start.
import type { Logger } from "@ectus/core";
import type { Llama } from "node-llama-cpp";

export type Library = typeof import("node-llama-cpp");

/** The library and its llama.cpp in this process; whoever opened it disposes of `llama`. */
export interface LoadedLibrary {
  readonly library: Library;
  readonly llama: Llama;
}

/** Loads the prebuilt llama.cpp for the processor; it is never compiled and never downloaded here. */
export async function loadLibrary(log: Logger, threads: number): Promise<LoadedLibrary> {
  const library = await import("node-llama-cpp");
  const llama = await library.getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    maxThreads: threads,
    logLevel: library.LlamaLogLevel.warn,
    logger: (level, message) => logLlamaMessage(log, level, message),
  });
  return { library, llama };
}

/** llama.cpp speaks of the model file, of memory and of threads, never of prompts. */
export function logLlamaMessage(log: Logger, level: string, message: string): void {
  const text = message.trim();
  if (text === "") return;
  if (level === "fatal" || level === "error") log.error({ from: "llama.cpp" }, text);
  else if (level === "warn") log.warn({ from: "llama.cpp" }, text);
  else log.debug({ from: "llama.cpp" }, text);
}
