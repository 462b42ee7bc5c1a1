// For drills that start something before Prometheus and break that: it is handed from `prepare` to `inject` by run, since a
// drill is one and the same for all of its runs.
import type { Drill, Mitigate } from "./drill.ts";
import type { Parts, Rig, ScrapeTarget } from "./rig/rig.ts";

export interface Prepared<T> {
  readonly thing: T;
  readonly targets: readonly ScrapeTarget[];
}

export function withPrepared<T>(
  start: (parts: Parts) => Promise<Prepared<T>>,
  breakIt: (thing: T, rig: Rig) => Promise<Mitigate>,
): Required<Pick<Drill, "prepare" | "inject">> {
  // The rig of a run has the signal of the parts that it is made of.
  const byRun = new WeakMap<AbortSignal, { readonly thing: T }>();
  return {
    async prepare(parts) {
      const { thing, targets } = await start(parts);
      byRun.set(parts.signal, { thing });
      return targets;
    },
    inject(rig) {
      const prepared = byRun.get(rig.signal);
      if (prepared === undefined) throw new Error("a drill cannot break what it has not prepared");
      return breakIt(prepared.thing, rig);
    },
  };
}
