// Alertmanager's configuration with PagerDuty, which is made from the one without and what pages have besides.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const folder = "k8s/prometheus/alertmanager";
const variant = `${folder}/pagerduty/config.yaml`;

/** Whether the file is what the code makes. A project without Alertmanager has none. */
export async function checkAlertmanagerVariant(root: string): Promise<readonly string[]> {
  const made = await makeVariant(root);
  if (made === undefined) return [];
  const there = await readFile(join(root, variant), "utf8").catch(() => "");
  if (there === made) return [];
  return [`${variant}: is not what the code makes; run: node tools/check/alertmanager-config.ts --write`];
}

export async function writeAlertmanagerVariant(root: string): Promise<void> {
  const made = await makeVariant(root);
  if (made !== undefined) await writeFile(join(root, variant), made);
}

async function makeVariant(root: string): Promise<string | undefined> {
  const { addPagerDuty } = await import("@ectus/alerting");
  const read = (name: string): Promise<string> => readFile(join(root, folder, name), "utf8");
  const config = await read("config.yaml").catch(() => undefined);
  return config === undefined ? undefined : addPagerDuty(config, await read("pagerduty.yaml"));
}
