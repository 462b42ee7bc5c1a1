import { catalogue } from "@ectus/monitoring";
import { expect, test } from "vitest";
import { bucketTables, catalogueTables } from "./catalogue-tables.ts";

const metric = { type: "counter", help: "Things.", labels: {}, usedBy: [] };

test("every metric of the catalogue has one row, under the heading of its part", () => {
  const tables = catalogueTables(catalogue);
  for (const name of Object.keys(catalogue)) expect(tables.split(`| \`${name}\` |`)).toHaveLength(2);
  expect(tables).toMatch(/### HTTP\n\n[^#]*`http_requests_total`/);
  expect(tables).toMatch(/### Database\n\n[^#]*`db_pool_size`/);
});

test("a row says type, labels with their values or bound, meaning and use", () => {
  const labels = { kind: { values: ["a", "b"] }, path: { about: "the route", atMost: 9 } };
  const table = catalogueTables({
    http_things: { ...metric, type: "histogram", native: true, labels, usedBy: ["alert X"] },
  });
  expect(table).toContain(
    "| `http_things` | histogram, native too | `kind`: `a`, `b`; `path`: the route (at most 9) | Things. | alert X |",
  );
});

test("a metric that no heading takes is refused", () => {
  expect(() => catalogueTables({ other_things: metric })).toThrow("other_things");
});

test("histograms that share buckets share a row", () => {
  const one = { ...metric, buckets: [1, 2], bucketsWhy: "because" };
  expect(bucketTables({ http_a: one, http_b: one, http_c: metric })).toContain(
    "| `http_a`, `http_b` | 1, 2 | because |",
  );
});
