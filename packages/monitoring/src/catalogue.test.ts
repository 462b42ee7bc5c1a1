import { describe, expect, test } from "vitest";
import { aiCatalogue } from "./catalogue/ai.ts";
import { databaseCatalogue } from "./catalogue/database.ts";
import type { CatalogueEntry } from "./catalogue/entry.ts";
import { httpCatalogue } from "./catalogue/http.ts";
import { itselfCatalogue } from "./catalogue/itself.ts";
import { lifecycleCatalogue } from "./catalogue/lifecycle.ts";
import { runtimeCatalogue } from "./catalogue/runtime.ts";
import { catalogue } from "./catalogue.ts";

const parts = [
  httpCatalogue,
  aiCatalogue,
  databaseCatalogue,
  lifecycleCatalogue,
  itselfCatalogue,
  runtimeCatalogue,
];
const entries = Object.entries<CatalogueEntry>(catalogue);

/** Names that are not ours to choose. */
const official = new Set(Object.keys(runtimeCatalogue));

const suffixes: Readonly<Record<string, string>> = { seconds: "_seconds", bytes: "_bytes", ratio: "_ratio" };

describe("the catalogue", () => {
  test("has no name in two of its parts", () => {
    expect(entries).toHaveLength(parts.reduce((sum, part) => sum + Object.keys(part).length, 0));
  });

  test("has no name that the series of another metric's histogram have", () => {
    const names = new Set(Object.keys(catalogue));
    for (const [name, { type }] of entries)
      if (type === "histogram")
        for (const suffix of ["_bucket", "_sum", "_count"]) expect(names).not.toContain(`${name}${suffix}`);
  });
});

describe.each(entries)("%s", (name, entry) => {
  test("is named by the rules of Prometheus", () => {
    expect(name).toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
    for (const label of Object.keys(entry.labels)) {
      expect(label).toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
      // Those of Prometheus itself.
      expect(["job", "instance", "le", "quantile"]).not.toContain(label);
    }
    expect(Object.keys(entry.labels)).not.toContain("tenant");
    if (!official.has(name)) expect(name.endsWith("_total")).toBe(entry.type === "counter");
    else if (entry.type === "counter") expect(name).toMatch(/_total$/);
  });

  test("has the unit that its name ends with", () => {
    const base = name.replace(/_total$/, "");
    const unit = Object.keys(suffixes).find((one) => base.endsWith(suffixes[one] as string));
    expect(entry.unit).toBe(unit);
  });

  test("says what it is and what it is for", () => {
    expect(entry.help).toMatch(/^[A-Z0-9`].*\.$/s);
    expect(entry.help).not.toMatch(/\n/);
    expect(entry.usedBy.length).toBeGreaterThan(0);
    for (const user of entry.usedBy) expect(user).toMatch(/^(dashboards? |alert [A-Z])/);
  });

  test("has labels whose values are bounded", () => {
    for (const rule of Object.values(entry.labels)) {
      if ("values" in rule) {
        expect(rule.values.length).toBeGreaterThan(1);
        expect(new Set(rule.values).size).toBe(rule.values.length);
        expect(rule.values).not.toContain("overflow");
        expect(rule.values).not.toContain("");
      } else {
        expect(rule.atMost).toBeGreaterThan(0);
        expect(rule.about).not.toBe("");
      }
    }
    expect(entry.maxSeries ?? 2000).toBeGreaterThan(1);
  });

  if (entry.type !== "histogram") return;
  test("has buckets that ascend, and says why those", () => {
    expect(entry.buckets.length).toBeGreaterThan(3);
    expect(entry.buckets).toEqual([...new Set(entry.buckets)].sort((one, other) => one - other));
    expect(entry.buckets.every(Number.isFinite)).toBe(true);
    expect(entry.bucketsWhy).not.toBe("");
  });
});
