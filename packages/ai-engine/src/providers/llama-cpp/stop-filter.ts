// Cuts a text that arrives in pieces at the first stop text, wherever the pieces' borders are.

export interface StopFilter {
  /** Takes a piece; returns what can be given on and whether a stop text was completed. The stop text is not given on. */
  push(piece: string): { readonly text: string; readonly stopped: boolean };
  /** What was held back because it could have become a stop text. */
  end(): string;
}

/** @param stops texts at which to cut; empty ones are ignored. Of two that end at the same place, the longer counts. */
export function createStopFilter(stops: readonly string[]): StopFilter {
  const texts = stops.filter((stop) => stop !== "").sort((a, b) => b.length - a.length);
  let held = "";
  return {
    push(piece) {
      held += piece;
      let cut: { start: number; end: number } | undefined;
      for (const stop of texts) {
        const start = held.indexOf(stop);
        const end = start + stop.length;
        if (start >= 0 && (cut === undefined || end < cut.end)) cut = { start, end };
      }
      if (cut !== undefined) {
        const text = held.slice(0, cut.start);
        held = "";
        return { text, stopped: true };
      }
      const keep = longestBeginning(held, texts);
      const text = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text, stopped: false };
    },
    end() {
      const text = held;
      held = "";
      return text;
    },
  };
}

/** Length of the longest end of `text` that is the beginning of a stop text. */
function longestBeginning(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length -= 1) {
      if (stop.startsWith(text.slice(text.length - length))) {
        longest = length;
        break;
      }
    }
  }
  return longest;
}
