// The list of runbooks says what there is, and what the alerts' rules say of each.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { readRuleFile } from "@ectus/alerting";
import { expect, test } from "vitest";
import { readRunnableBlocks } from "./runbook-blocks.ts";

const root = join(import.meta.dirname, "..", "..");
const folder = join(root, "docs", "runbooks");
const withoutAlert = ["service-degradation", "deployment-rollback", "data-corruption", "security-incident"];

interface Listed {
  readonly title: string;
  readonly name: string;
  readonly severity: string;
}

async function readIndex(): Promise<Listed[]> {
  const text = await readFile(join(folder, "README.md"), "utf8");
  return [...text.matchAll(/^\| \[([^\]]+)\]\(([\w-]+)\.md\) \| (\w*) ?\| /gm)].map(
    ([, title = "", name = "", severity = ""]) => ({ title, name, severity }),
  );
}

async function readSeverities(): Promise<Map<string, string>> {
  const severities = new Map<string, string>();
  for (const name of ["alerts.yaml", "objective-rules.yaml"]) {
    const { groups } = await readRuleFile(join(root, "k8s", "prometheus", name));
    for (const rule of groups.flatMap(({ rules }) => rules))
      if (rule.kind === "alert") severities.set(rule.name.value, rule.labels.get("severity")?.value ?? "");
  }
  return severities;
}

test("every runbook is listed once, by its title, and begins with its severity", async () => {
  const listed = await readIndex();
  const names = (await readdir(folder)).filter((name) => name.endsWith(".md") && name !== "README.md");
  expect(listed.map(({ name }) => `${name}.md`).toSorted()).toEqual(names.toSorted());
  for (const { title, name, severity } of listed) {
    const [heading, , first = ""] = (await readFile(join(folder, `${name}.md`), "utf8")).split("\n", 3);
    expect(heading).toBe(`# ${title}`);
    const says = severity === "" ? "No alert " : `${severity[0]?.toUpperCase()}${severity.slice(1)}. `;
    expect(first.slice(0, says.length), name).toBe(says);
  }
});

test("the list has every alert with its severity, and besides what has no alert", async () => {
  const listed = await readIndex();
  const alerts = listed.filter(({ severity }) => severity !== "");
  const severities = await readSeverities();
  expect(Object.fromEntries(alerts.map(({ title, severity }) => [title, severity]))).toEqual(
    Object.fromEntries(severities),
  );
  const others = listed.filter(({ severity }) => severity === "");
  expect(others.map(({ name }) => name)).toEqual(withoutAlert);
});

test("the list says of every variable that commands expect what it is", async () => {
  const text = await readFile(join(folder, "README.md"), "utf8");
  const named = new Set(
    [...text.matchAll(/^\| .*?(?= \| )/gm)].flatMap(([cell]) => cell.match(/\b[A-Z_]{3,}\b/g) ?? []),
  );
  const blocks = await readRunnableBlocks(["runbooks", "operations"]);
  for (const { file, line, language, code } of blocks) {
    if (language !== "sh") continue;
    const own = new Set([...code.matchAll(/\b([A-Z_]{3,})=/g)].map(([, name = ""]) => name));
    for (const [, name = ""] of code.matchAll(/\$\{?([A-Z_]{3,})\b/g))
      if (!own.has(name)) expect([...named], `${file}:${line}`).toContain(name);
  }
});
