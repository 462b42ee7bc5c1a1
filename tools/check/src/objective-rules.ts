// The rules of the service's objective, which are made from packages/alerting/src/objective.ts.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const path = "k8s/prometheus/objective-rules.yaml";

/** Whether the file is what the code makes. A project without Prometheus's rules has none. */
export async function checkObjectiveRules(root: string): Promise<readonly string[]> {
  const [there, made] = await Promise.all([readRules(root), makeRules()]);
  if (there === undefined || there === made) return [];
  return [`${path}: is not what the code makes; run: node tools/check/generated.ts --write`];
}

/** Gives the path if the file changed. */
export async function writeObjectiveRules(root: string): Promise<readonly string[]> {
  const [there, made] = await Promise.all([readRules(root), makeRules()]);
  if (there === undefined || there === made) return [];
  await writeFile(join(root, path), made);
  return [path];
}

const readRules = (root: string): Promise<string | undefined> =>
  readFile(join(root, path), "utf8").catch(() => undefined);

async function makeRules(): Promise<string> {
  return (await import("@ectus/alerting")).renderObjectiveRules();
}
