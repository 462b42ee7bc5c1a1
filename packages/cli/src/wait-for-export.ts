// Waits for the end of an export that a server runs, and outlasts a restart of that server.
import { setTimeout as delay } from "node:timers/promises";
import { patiently } from "./api-client.ts";
import type { ExportClient, ExportObject } from "./export-client.ts";

export interface WaitOptions {
  readonly client: ExportClient;
  readonly id: string;
  readonly signal: AbortSignal;
  readonly onState: (state: ExportObject) => void;
  /** Called when the API does not answer, and when it does again. */
  readonly onNote: (text: string) => void;
  readonly pauses?: WaitPauses;
}

export interface WaitPauses {
  readonly firstMs: number;
  readonly longestMs: number;
  /** How long it may wait for a worker before that is worth a note. */
  readonly queuedMs: number;
  /** How long the API may be away. */
  readonly giveUpAfterMs: number;
}

// A server that restarts, or is moved to another machine, is back within some minutes.
const usualPauses: WaitPauses = {
  firstMs: 1_000,
  longestMs: 5_000,
  queuedMs: 30_000,
  giveUpAfterMs: 10 * 60_000,
};
const pauseGrowth = 1.25;

/** The export when it is ready, failed or expired. */
export async function waitForExport({
  client,
  id,
  signal,
  onState,
  onNote,
  pauses = usualPauses,
}: WaitOptions): Promise<ExportObject> {
  let pauseMs = pauses.firstMs;
  let tellQueuedAt = performance.now() + pauses.queuedMs;
  for (;;) {
    let troubled = false;
    const state = await patiently(
      () => client.get(id, signal),
      {
        giveUpAfterMs: pauses.giveUpAfterMs,
        pauseMs: pauses.firstMs,
        longestPauseMs: pauses.longestMs,
        onTrouble({ message }) {
          troubled = true;
          onNote(`${message} Trying again; the export goes on without this command.`);
        },
      },
      signal,
    );
    if (troubled) onNote("The API answers again.");
    onState(state);
    if (state.state === "queued" && performance.now() >= tellQueuedAt) {
      tellQueuedAt = Number.POSITIVE_INFINITY;
      onNote(
        "No worker has taken it up yet: all are busy, or none runs. Exports are made by an instance with EXPORTS_ENABLED=true, or by 'ectus worker'.",
      );
    }
    if (state.state !== "queued" && state.state !== "running") return state;
    await delay(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    pauseMs = Math.min(pauseMs * pauseGrowth, pauses.longestMs);
  }
}
