// What keeps the process from ending: resources, and the handles and requests behind them, by their kinds.
import type { GaugeOf, Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function showActiveResources(instruments: Instruments): () => void {
  const { _getActiveHandles, _getActiveRequests } = process as UndocumentedProcess;
  const ends = [show(instruments, "nodejs_active_resources", () => process.getActiveResourcesInfo())];
  if (_getActiveHandles !== undefined)
    ends.push(show(instruments, "nodejs_active_handles", () => classesOf(_getActiveHandles.call(process))));
  if (_getActiveRequests !== undefined)
    ends.push(show(instruments, "nodejs_active_requests", () => classesOf(_getActiveRequests.call(process))));
  return () => {
    for (const end of ends) end();
  };
}

/** Functions that Node.js has and does not promise. */
type UndocumentedProcess = NodeJS.Process & {
  readonly _getActiveHandles?: () => readonly unknown[];
  readonly _getActiveRequests?: () => readonly unknown[];
};

type ByType = "nodejs_active_resources" | "nodejs_active_handles" | "nodejs_active_requests";

function show(instruments: Instruments, name: ByType, typesOfAll: () => readonly string[]): () => void {
  let shown: ReadonlyMap<string, number> = new Map();
  const byType: GaugeOf<ByType> = instruments.gauge(name, () => {
    const types = typesOfAll();
    const counts = new Map<string, number>();
    for (const type of types) counts.set(type, (counts.get(type) ?? 0) + 1);
    for (const [type, count] of counts) byType.labels({ type }).set(count);
    // Not by a reset: a scrape that is under way leaves out what is made anew.
    for (const type of shown.keys()) if (!counts.has(type)) byType.remove({ type });
    shown = counts;
    total.labels({}).set(types.length);
  });
  const total = instruments.gauge(`${name}_total`);
  return () => withdraw(byType, total);
}

function classesOf(objects: readonly unknown[]): string[] {
  return objects.map((object) => (object as object | null)?.constructor?.name || "unknown");
}
