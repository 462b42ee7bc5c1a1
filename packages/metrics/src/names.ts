// Which names metrics and labels may have. Prometheus 3 takes any UTF-8; what an older one cannot read is escaped in
// the exposition, see exposition/name-escaping.ts.

/** https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels */
export const classicMetricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
export const classicLabelName = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** @throws TypeError */
export function checkMetricName(name: string): void {
  if (typeof name !== "string" || name === "" || !name.isWellFormed())
    throw new TypeError(`got the metric name ${JSON.stringify(name)}, accepts a text that is not empty`);
}

/** @throws TypeError */
export function checkLabelNames(metric: string, names: readonly string[]): void {
  for (const [index, name] of names.entries()) {
    if (typeof name !== "string" || name === "" || !name.isWellFormed() || name.startsWith("__"))
      throw new TypeError(
        `the metric ${metric} got the label name ${JSON.stringify(name)}, accepts a text that is not empty and does not begin with __`,
      );
    if (names.indexOf(name) !== index)
      throw new TypeError(`the metric ${metric} has the label ${name} twice`);
  }
}
