// The shapes of OpenAI's embeddings as they pass through the engine.

/** A request body that web-api has checked; `input` is a text, texts, token ids or lists of token ids. */
export interface EmbeddingsRequest {
  readonly model: string;
  readonly input: string | readonly string[] | readonly number[] | readonly (readonly number[])[];
  readonly encoding_format?: "float" | "base64" | null;
  readonly dimensions?: number | null;
  readonly user?: string;
  readonly [field: string]: unknown;
}

export interface EmbeddingsResponse {
  readonly object: "list";
  readonly data: readonly {
    readonly object: "embedding";
    readonly index: number;
    /** Numbers, or with `encoding_format: "base64"` the base64 of little-endian 32-bit floats. */
    readonly embedding: readonly number[] | string;
  }[];
  model: string;
  readonly usage?: { readonly prompt_tokens: number; readonly total_tokens: number } | null;
  readonly [field: string]: unknown;
}
