import fc from "fast-check";
import { expect, test } from "vitest";
import { bagName } from "./bag-name.ts";

const exportId = "019aa64c-3b2e-7f0e-8a4d-9c5b6f1e2d3c";
const createdAt = new Date("2026-11-24T23:59:59.999Z");
const name = (tenantName: string): string => bagName({ tenantName, createdAt, exportId });

test.each([
  ["Acme Corp.", "acme-corp"],
  ["Zoë & Søn — Żółw", "zoe-s-n-zo-w"],
  ["株式会社", "tenant"],
  ["", "tenant"],
  ["../../etc/passwd", "etc-passwd"],
  ["...hidden", "hidden"],
  ["-rf *", "rf"],
  ["a\nb\0c", "a-b-c"],
  [`${"x".repeat(39)} y`, "x".repeat(39)],
  ["ﬁnance Ⅳ", "finance-iv"],
])("the bag of %j is called after it", (tenantName, slug) => {
  expect(name(tenantName)).toBe(`${slug}-2026-11-24-019aa64c3b2e7f0e8a4d9c5b6f1e2d3c`);
});

test("any name gives a folder name that is safe everywhere", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" })), (tenantName) => {
      const folder = name(tenantName);
      expect(folder).toMatch(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?-2026-11-24-[0-9a-f]{32}$/);
      expect(folder).not.toContain("--");
    }),
    { numRuns: 2_000 },
  );
});
