import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkAlertChain } from "./alerts.ts";
import { createSmallProject } from "./small-project.ts";

const rules = "k8s/prometheus";
const checkout = join(import.meta.dirname, "..", "..", "..");

// Every other mistake is planted by the tests of packages/alerting/src/chain/.
test("a mistake in the rules is a fault with file, line, column and what to do", async () => {
  await using project = await createSmallProject();
  await cp(join(checkout, rules), join(project.root, rules), { recursive: true });
  const path = join(project.root, rules, "alerts.yaml");
  const text = await readFile(path, "utf8");
  await writeFile(path, text.replace("        for: 5m\n", "        fro: 5m\n"));
  const line = text.slice(0, text.indexOf("        for: 5m\n")).split("\n").length;
  expect(await checkAlertChain(project.root)).toEqual([
    `k8s/prometheus/alerts.yaml:${line}:9: "fro" is no field of a rule. There are: record, alert, expr, for, keep_firing_for, labels, annotations.`,
  ]);
});
