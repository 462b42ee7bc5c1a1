// The values of one label, numbered, so that a label set is a row of small integers.

/** A value that is left out, which is the same as an empty one. */
export const absent = 0;

export class LabelNumbers {
  /**
   * The number of each value. An object without prototype: 3 keyed loads cost 14 ns where 3 of `Map.get` cost 22 (its
   * chains hold two entries on average, which no branch predictor likes), and 200 and "200" are the same key anyhow.
   */
  byValue: Record<string | number, number | undefined> = emptyNumbers();
  readonly #texts: string[] = [""];
  readonly #uses: number[] = [1];
  readonly #free: number[] = [];

  textOf(number: number): string {
    return this.#texts[number] as string;
  }

  /** The number of a value that one more series has. */
  take(text: string): number {
    const known = this.byValue[text];
    if (known !== undefined) {
      (this.#uses[known] as number) += 1;
      return known;
    }
    const number = this.#free.pop() ?? this.#texts.length;
    this.byValue[text] = number;
    this.#texts[number] = text;
    this.#uses[number] = 1;
    return number;
  }

  /** One series less has this value. The last one takes it away, so that values which are gone take no memory. */
  release(number: number): void {
    (this.#uses[number] as number) -= 1;
    if (this.#uses[number] !== 0) return;
    delete this.byValue[this.#texts[number] as string];
    this.#texts[number] = "";
    this.#free.push(number);
  }

  clear(): void {
    this.byValue = emptyNumbers();
    this.#texts.length = 1;
    this.#uses.length = 1;
    this.#uses[absent] = 1;
    this.#free.length = 0;
  }
}

function emptyNumbers(): Record<string, number | undefined> {
  const numbers: Record<string, number | undefined> = Object.create(null);
  numbers[""] = absent;
  return numbers;
}
