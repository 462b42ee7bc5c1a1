// What every recorded series must be: named level:metric:operations, where the level is what its result still tells
// apart, and used by something.
import type { Fault } from "../yaml-positions.ts";
import type { ChainContext } from "./chain-context.ts";

/** @param used Names of series that any expression asks for. */
export function checkRecordings({ recordings }: ChainContext, used: ReadonlySet<string>): readonly Fault[] {
  const faults: Fault[] = [];
  // Several rules may record one series, with different labels.
  const told = new Set<string>();
  for (const { rule, file, result } of recordings) {
    const { value: name, range } = rule.name;
    const refuse = (message: string) => faults.push(file.source.faultAt(range[0], message));
    const [level, metric, operations, more] = name.split(":");
    if (!level || !metric || !operations || more !== undefined) {
      refuse(`${name} is not called level:metric:operations, as job:http_requests:rate5m is. Rename it.`);
    } else if (!isMadeOf(level, [...result.shape.labels.keys(), ...rule.labels.keys()])) {
      const labels = [...result.shape.labels.keys(), ...rule.labels.keys()].join(", ") || "none";
      refuse(
        `${name} is of the level ${level}, but its result has the labels ${labels}. Name it after some of them, joined by "_".`,
      );
    }
    if (!used.has(name) && !told.has(name)) {
      refuse(`Nothing uses ${name}. Use it in an alert, a rule or a runbook, test it, or remove it.`);
    }
    told.add(name);
  }
  return faults;
}

/** Whether a level is some of these labels, joined by "_" (which labels may have themselves). */
function isMadeOf(level: string, labels: readonly string[]): boolean {
  return labels.some(
    (label) =>
      level === label || (level.startsWith(`${label}_`) && isMadeOf(level.slice(label.length + 1), labels)),
  );
}
