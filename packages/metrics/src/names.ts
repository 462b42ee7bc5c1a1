// Which names metrics and labels may have. Prometheus 3 takes any UTF-8; what an older one cannot read is escaped in
// the exposition, see exposition/name-escaping.ts.

/** https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels */
export const classicMetricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
export const classicLabelName = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** @throws TypeError when it is empty, or not what a text or a scraper can hold */
export function checkMetricName(name: string): void {
  if (!isName(name))
    throw new TypeError(
      `got the metric name ${JSON.stringify(name)}, accepts a text that is not empty and without NUL`,
    );
}

/** @throws TypeError also for a name that begins with "__", which are Prometheus's own, and for one that occurs twice */
export function checkLabelNames(metric: string, names: readonly string[]): void {
  for (const [index, name] of names.entries()) {
    if (!isName(name) || name.startsWith("__"))
      throw new TypeError(
        `the metric ${metric} got the label name ${JSON.stringify(name)}, accepts a text that is not empty, is without NUL and does not begin with __`,
      );
    if (names.indexOf(name) !== index)
      throw new TypeError(`the metric ${metric} has the label ${name} twice`);
  }
}

/** Prometheus stops reading at a NUL in a quoted name (promparse.go, openmetricsparse.go). */
function isName(name: unknown): name is string {
  return typeof name === "string" && name !== "" && name.isWellFormed() && !name.includes("\0");
}
