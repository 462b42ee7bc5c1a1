// Counts the spans of traces that are not over, so that they can be bounded. A trace whose root never ends would be
// counted for ever; therefore each is counted in the generation that it began in, and old generations are written off.
// Of one that lasts longer than that, as a stream may, the limit of a single trace is left.

/** Past it no more are recorded, about 20 MB. */
const mostWaiting = 100_000;
const generationMs = 1_800_000;

export class WaitingSpans {
  #bornMs = performance.now();
  #current = { count: 0 };
  #previous = { count: 0 };

  /** Where a trace that begins counts its spans. */
  generationAt(nowMs: number): { count: number } {
    if (nowMs - this.#bornMs > generationMs) {
      this.#bornMs = nowMs;
      this.#previous = this.#current;
      this.#current = { count: 0 };
    }
    return this.#current;
  }

  get count(): number {
    return this.#current.count + this.#previous.count;
  }

  get hasRoom(): boolean {
    return this.count < mostWaiting;
  }
}
