// One GGUF file in memory: the model, a context whose sequences answer chats, and a context for embeddings.
import type {
  Llama,
  LlamaContextSequence,
  LlamaEmbeddingContext,
  LlamaGrammarEvaluationState,
  LlamaModel,
} from "node-llama-cpp";
import type { ResponseFormat } from "../../chat.ts";
import { type ChatPrompt, createChatPrompt } from "./chat-prompt.ts";
import { createResponseGrammar } from "./grammar.ts";
import { createLengthGuard } from "./length-guard.ts";
import type { Library, LoadedLibrary } from "./library.ts";

export interface LoadedModel {
  readonly model: LlamaModel;
  readonly sequences: readonly LlamaContextSequence[];
  readonly prompt: ChatPrompt;
  /** @throws EctusError `invalid_request` when the format cannot be had from a grammar */
  grammar(format: ResponseFormat): Promise<LlamaGrammarEvaluationState | undefined>;
  /** Tokens that a text to embed may have. */
  readonly embeddingTokens: number;
  /** Throws `context_length_exceeded` for a text of so many characters that cannot have that few tokens. */
  readonly refuseTooLongInput: (characters: number) => void;
  /** The context for embeddings, made when it is first asked for; one call of it runs at a time. */
  embeddings(): Promise<LlamaEmbeddingContext>;
  dispose(): Promise<void>;
}

export interface LoadModelOptions {
  readonly path: string;
  readonly sequences: number;
  readonly contextTokens: number;
  readonly threads: number;
}

// GGUF's pooling_type: https://github.com/ggml-org/llama.cpp, enum llama_pooling_type
const meanPooling = 1;
// A text to embed passes in one batch, whose buffers grow with its size: 2,048 tokens cost about 0.2 GB.
const mostEmbeddingTokens = 2048;

export async function loadModel(
  { library, llama }: LoadedLibrary,
  options: LoadModelOptions,
): Promise<LoadedModel> {
  const model = await openModel(library, llama, options.path);
  try {
    const contextSize = Math.min(options.contextTokens, model.trainContextSize);
    const context = await model.createContext({
      sequences: options.sequences,
      contextSize,
      threads: options.threads,
    });
    const sequences = Array.from({ length: options.sequences }, () => context.getSequence());
    const embeddingContextSize = Math.min(contextSize, mostEmbeddingTokens);
    let embeddings: Promise<LlamaEmbeddingContext> | undefined;
    return {
      model,
      sequences,
      prompt: createChatPrompt(model, library, contextSize),
      async grammar(format) {
        const grammar = await createResponseGrammar(llama, format);
        return grammar && new library.LlamaGrammarEvaluationState({ model, grammar });
      },
      embeddingTokens: embeddingContextSize - 1,
      refuseTooLongInput: createLengthGuard(model, embeddingContextSize - 1, "input"),
      embeddings() {
        embeddings ??= model
          .createEmbeddingContext({
            contextSize: embeddingContextSize,
            batchSize: embeddingContextSize,
            threads: options.threads,
          })
          .catch((error: unknown) => {
            embeddings = undefined;
            throw error;
          });
        return embeddings;
      },
      dispose: () => model.dispose(),
    };
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

/** Opens the file; a model that names no pooling of its own embeds by the mean over all tokens. */
async function openModel(library: Library, llama: Llama, path: string): Promise<LlamaModel> {
  const { metadata, architectureMetadata } = await library.readGgufFileInfo(path, {
    readTensorInfo: false,
    sourceType: "filesystem",
    logWarnings: false,
  });
  const hasPooling = "pooling_type" in architectureMetadata;
  return await llama.loadModel({
    modelPath: path,
    ...(!hasPooling && {
      metadataOverrides: { [metadata.general.architecture]: { pooling_type: meanPooling } },
    }),
  });
}
