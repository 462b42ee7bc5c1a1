// The checked chain of alerts, as a step: see packages/alerting.

/** What is wrong in rules, their tests, runbooks and Alertmanager's configuration, with file, line and what to add. */
export async function checkAlertChain(root: string): Promise<readonly string[]> {
  const { checkChain, formatFault } = await import("@ectus/alerting");
  return (await checkChain(root)).map(formatFault);
}
