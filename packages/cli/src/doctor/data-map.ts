// Check of the data map: whether the database has the tables and columns of which the map says whose they are, and no
// others.
import { type Check, fail, ok } from "./check.ts";

/** What the faults mean that `inspectDatabase` finds. */
export function judgeDataMap(faults: readonly string[]): Check {
  return faults.length === 0
    ? ok("data map", "says of every table and column whose it is")
    : fail(
        "data map",
        faults.join("\n"),
        "Exports are refused until it fits. Undo by hand what no migration did; what a migration did has its place in the data map of that version.",
      );
}
