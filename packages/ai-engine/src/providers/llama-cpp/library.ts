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
  try {
    const llama = await library.getLlama({
      gpu: false,
      build: "never",
      skipDownload: true,
      // What it has to say of a failure is in its error.
      progressLogs: false,
      maxThreads: threads,
      logLevel: library.LlamaLogLevel.warn,
      logger: (level, message) => logLlamaMessage(log, level, message),
    });
    return { library, llama };
  } catch (error) {
    throw describeLoadFailure(error, library.NoBinaryFoundError);
  }
}

// A model file that llama.cpp refused keeps a hold on it in 3.22.1, and then its disposal waits for ever.
const disposeTimeoutMs = 1_000;

/** Frees llama.cpp; call it when every model that was loaded is disposed of. */
export async function disposeLibrary({ llama }: LoadedLibrary): Promise<void> {
  const timeUp = Promise.withResolvers<void>();
  const timer = setTimeout(timeUp.resolve, disposeTimeoutMs);
  await Promise.race([llama.dispose(), timeUp.promise]);
  clearTimeout(timer);
}

/** Says what to do where the library says only the name of its error. */
export function describeLoadFailure(error: unknown, noBinary: Library["NoBinaryFoundError"]): unknown {
  if (!(error instanceof noBinary)) return error;
  return new Error(
    `there is no prebuilt llama.cpp that runs on ${process.platform} ${process.arch}; ` +
      "install the optional package @node-llama-cpp for this platform, which 'npm ci --omit=optional' leaves out",
    { cause: error },
  );
}

/** llama.cpp speaks of the model file, of memory and of threads, never of prompts. */
export function logLlamaMessage(log: Logger, level: string, message: string): void {
  const text = message.trim();
  if (text === "") return;
  if (level === "fatal" || level === "error") log.error({ from: "llama.cpp" }, text);
  else if (level === "warn") log.warn({ from: "llama.cpp" }, text);
  else log.debug({ from: "llama.cpp" }, text);
}
