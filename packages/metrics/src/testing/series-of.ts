// All series of a table, for tests that look at them from outside.
import type { Series, SeriesTable } from "../series-table.ts";

export function seriesOf<S extends Series>(table: SeriesTable<S>): S[] {
  return Array.from({ length: table.end }, (_, slot) => table.glance(slot)).filter(
    (series) => series !== undefined,
  );
}
