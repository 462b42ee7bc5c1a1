// One model of the provider: its slots, its place for embeddings, and the load that concurrent first calls share.
import { AsyncLocalStorage } from "node:async_hooks";
import { EctusError, errorMessage, type Logger } from "@ectus/core";
import type { LoadedModel } from "./loaded-model.ts";
import { createSlotPool, type SlotPool } from "./slot-pool.ts";

/** A place for one chat: the number of its sequence, and whose prompt that holds. */
export interface Slot {
  readonly index: number;
  scope: string | undefined;
}

export interface ModelRuntime {
  readonly name: string;
  readonly slots: SlotPool<Slot>;
  readonly embeddingSlot: SlotPool<null>;
  /** The model, loaded first if it is not yet; rejects with `model_unavailable`, and the next call tries again. */
  get(): Promise<LoadedModel>;
  /** The model if it is loaded now. */
  peek(): LoadedModel | undefined;
  /** Refuses new callers, waits for those that hold a slot, and frees the model. */
  close(): Promise<void>;
}

export interface ModelRuntimeOptions {
  readonly name: string;
  readonly sequences: number;
  readonly queueBound: number;
  readonly queueTimeoutMs: number;
  readonly load: () => Promise<LoadedModel>;
  readonly onLoaded: (durationMs: number) => void;
  readonly log: Logger;
}

export function createModelRuntime(options: ModelRuntimeOptions): ModelRuntime {
  const { name, queueBound, queueTimeoutMs } = options;
  const pool = { queueBound, queueTimeoutMs, what: `the model '${name}'` };
  const slots = createSlotPool<Slot>({
    ...pool,
    slots: Array.from({ length: options.sequences }, (_, index) => ({ index, scope: undefined })),
  });
  const embeddingSlot = createSlotPool<null>({ ...pool, slots: [null] });
  // A model outlives the call that had it loaded, and others wait for the same load: it is nobody's.
  const outside = AsyncLocalStorage.snapshot();
  let loading: Promise<LoadedModel> | undefined;
  let loaded: LoadedModel | undefined;

  const load = async () => {
    const start = performance.now();
    try {
      loaded = await options.load();
    } catch (error) {
      loading = undefined;
      throw new EctusError(
        "model_unavailable",
        { model: name, reason: errorMessage(error) },
        { cause: error },
      );
    }
    const durationMs = performance.now() - start;
    options.log.info({ model: name, durationMs: Math.round(durationMs) }, "model loaded");
    options.onLoaded(durationMs);
    return loaded;
  };

  return {
    name,
    slots,
    embeddingSlot,
    get() {
      loading ??= outside(load);
      return loading;
    },
    peek: () => loaded,
    async close() {
      await Promise.all([slots.close(), embeddingSlot.close()]);
      const last = await loading?.catch(() => undefined);
      await last?.dispose();
    },
  };
}

/** The free slot of the same scope that holds most of the prompt; else one that holds nothing of any scope. */
export function chooseSlot(
  free: readonly Slot[],
  scope: string | undefined,
  overlap: (slot: Slot) => number,
): Slot {
  const rank = (slot: Slot) => {
    if (scope !== undefined && slot.scope === scope) return 1 + overlap(slot);
    return slot.scope === undefined ? 0.5 : 0;
  };
  return free.reduce((best, slot) => (rank(slot) > rank(best) ? slot : best));
}
