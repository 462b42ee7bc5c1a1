import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkAlertmanagerVariant, writeAlertmanagerVariant } from "./alertmanager-variant.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "ectus-check-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

test("the configuration with PagerDuty is to be what the code makes of the one without", async () => {
  expect(await checkAlertmanagerVariant(root)).toEqual([]);
  const folder = join(root, "k8s/prometheus/alertmanager");
  await mkdir(join(folder, "pagerduty"), { recursive: true });
  await writeFile(join(folder, "config.yaml"), "receivers:\n  - name: platform-page\n");
  await writeFile(join(folder, "pagerduty.yaml"), "pagerduty_configs: []\n");
  const stale = [
    "k8s/prometheus/alertmanager/pagerduty/config.yaml: is not what the code makes; run: node tools/check/alertmanager-config.ts --write",
  ];
  expect(await checkAlertmanagerVariant(root)).toEqual(stale);
  await writeAlertmanagerVariant(root);
  expect(await checkAlertmanagerVariant(root)).toEqual([]);
  expect(await readFile(join(folder, "pagerduty/config.yaml"), "utf8")).toContain(
    "    pagerduty_configs: []\n",
  );
  await writeFile(
    join(folder, "config.yaml"),
    "receivers:\n  - name: platform-page\n    slack_configs: []\n",
  );
  expect(await checkAlertmanagerVariant(root)).toEqual(stale);
});
