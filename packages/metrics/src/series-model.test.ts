// Random sequences of calls on a counter with a cap, beside a model of it that is a Map.
import fc from "fast-check";
import { expect, test } from "vitest";
import { Counter, type CounterSeries } from "./counter.ts";

const maxSeries = 4;
const overflow = "overflow,overflow";

interface Kept {
  readonly series: CounterSeries;
  /** What it counts. */
  key: string;
}

class Model {
  readonly values = new Map<string, number>();
  dropped = 0;

  add(key: string, by: number): string {
    let counted = key;
    if (!this.values.has(key) && key !== overflow && this.#size >= maxSeries) {
      this.dropped += 1;
      counted = overflow;
    }
    this.values.set(counted, (this.values.get(counted) ?? 0) + by);
    return counted;
  }

  get #size(): number {
    return this.values.size - (this.values.has(overflow) ? 1 : 0);
  }
}

const value = fc.constantFrom("", "1", "2", "x", "overflow");
const labels = fc.tuple(value, value);
const amount = fc.nat(9);
const call = fc.oneof(
  fc.record({ type: fc.constantFrom("inc" as const), labels, amount }),
  fc.record({ type: fc.constantFrom("remove" as const), labels }),
  fc.record({ type: fc.constantFrom("keep" as const), labels }),
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constantFrom("incKept" as const), which: fc.nat(20), amount }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constantFrom("reset" as const) }) },
);

/** The same label set, given in one way or another. */
function given(
  texts: readonly [string, string],
  variant: number,
): Record<string, string | number | undefined> {
  const [a, b] = texts.map((text) => (/^\d$/.test(text) && variant % 2 === 0 ? Number(text) : text)) as [
    string | number,
    string | number,
  ];
  if (variant % 3 === 0) return { b, a };
  return { ...(a === "" ? {} : { a }), b: b === "" ? undefined : b };
}

test("a counter with a cap counts as the model does, whatever is called in whatever order", () => {
  fc.assert(
    fc.property(fc.array(call, { minLength: 1, maxLength: 80 }), (calls) => {
      const counter = new Counter({ name: "c", help: "c", labelNames: ["a", "b"], registers: [], maxSeries });
      const model = new Model();
      const kept: Kept[] = [];
      for (const [step, one] of calls.entries()) {
        switch (one.type) {
          case "inc":
            counter.inc(given(one.labels, step), one.amount);
            model.add(one.labels.join(), one.amount);
            break;
          case "remove":
            counter.remove(given(one.labels, step));
            model.values.delete(one.labels.join());
            break;
          case "keep":
            kept.push({
              series:
                step % 2 === 0 ? counter.labels(...one.labels) : counter.labels(given(one.labels, step)),
              key: model.add(one.labels.join(), 0),
            });
            break;
          case "incKept": {
            const handle = kept[one.which % (kept.length || 1)];
            if (handle === undefined) break;
            handle.series.inc(one.amount);
            handle.key = model.add(handle.key, one.amount);
            break;
          }
          case "reset":
            counter.reset();
            model.values.clear();
            break;
        }
        const { table } = counter;
        expect(table.dropped).toBe(model.dropped);
        const values: [string, number][] = [];
        for (let slot = 0; slot < table.end; slot += 1)
          if ((table.numbers[slot] as number) >= 0)
            values.push([table.textsAt(slot).join(), table.values[slot] as number]);
        expect(values.toSorted()).toEqual([...model.values].toSorted());
      }
    }),
    { numRuns: 500 },
  );
});
