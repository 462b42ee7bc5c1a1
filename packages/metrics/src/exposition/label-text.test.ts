import { expect, test } from "vitest";
import { Gauge } from "../gauge.ts";
import { Registry } from "../registry.ts";
import { negotiate } from "./negotiation.ts";

async function textOf(registry: Registry): Promise<string> {
  return (await registry.metrics()).replace(/^#.*\n/gm, "");
}

test("backslashes, quotes and line feeds in label values are escaped, and nothing else", async () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["a"], registers: [registry] });
  gauge.set({ a: 'C:\\n\\"\n\r\t\u0000{},=é花😱' }, 1);
  expect(await textOf(registry)).toBe('g{a="C:\\\\n\\\\\\"\\n\r\t\u0000{},=é花😱"} 1\n');
});

test("what is no character of its own becomes the replacement character", async () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["a"], registers: [registry] });
  gauge.set({ a: "a\ud800b" }, 1);
  expect(await textOf(registry)).toBe('g{a="a\ufffdb"} 1\n');
  // Two values that are written the same would be one series twice.
  gauge.inc({ a: "a\ud801b" }, 2);
  gauge.labels("a\udc00b").inc(3);
  expect(await textOf(registry)).toBe('g{a="a\ufffdb"} 6\n');
  gauge.remove("a\ud802b");
  expect(await textOf(registry)).toBe("");
});

test("what every object has is no default label", async () => {
  const registry = new Registry();
  const labelNames = ["constructor", "toString"] as const;
  const gauge = new Gauge({ name: "g", help: "G.", labelNames, registers: [registry] });
  gauge.labels("", "").set(1);
  expect(await textOf(registry)).toBe("g 1\n");
  registry.setDefaultLabels({ toString: "own" });
  expect(await textOf(registry)).toBe('g{toString="own"} 1\n');
});

test("labels that a series does not have are left out", async () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["a", "b"], registers: [registry] });
  gauge.set({ b: "2" }, 1);
  gauge.set({}, 2);
  gauge.set({ a: "1" }, 3);
  expect(await textOf(registry)).toBe('g{b="2"} 1\ng 2\ng{a="1"} 3\n');
});

test("a label value may be longer than any buffer", async () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["a", "b"], registers: [registry] });
  const long = '"é'.repeat(100_000);
  gauge.set({ a: long, b: "x" }, 1);
  gauge.set({ a: "short", b: "y" }, 2);
  expect(await textOf(registry)).toBe(
    `g{a="${long.replaceAll('"', '\\"')}",b="x"} 1\ng{a="short",b="y"} 2\n`,
  );
});

test("a default label fills in where the series has none", async () => {
  const registry = new Registry();
  registry.setDefaultLabels({ app: "shop", a: "default", port: 8080 });
  const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["a"], registers: [registry] });
  gauge.set({ a: "own" }, 1);
  gauge.set({}, 2);
  expect(await textOf(registry)).toBe(
    'g{a="own",app="shop",port="8080"} 1\ng{a="default",app="shop",port="8080"} 2\n',
  );
});

test("names of any characters are quoted for a scraper that can read them, and escaped for others", async () => {
  const registry = new Registry();
  registry.setDefaultLabels({ "app.name": "shop" });
  const gauge = new Gauge({
    name: 'my."gauge"',
    help: "G.",
    labelNames: ["a.b", "a_b"],
    registers: [registry],
  });
  gauge.set({ "a.b": "1", a_b: "2" }, 1);
  new Gauge({ name: "plain.total", help: "G.", registers: [registry] }).set(2);
  const { scrape } = await import("../scrape.ts");
  const as = async (escaping: string) => {
    let text = "";
    for await (const chunk of scrape(registry, {
      format: negotiate(`text/plain;version=1.0.0;escaping=${escaping}`),
    }))
      text += Buffer.from(chunk).toString();
    return text;
  };
  expect(await as("allow-utf-8")).toBe(
    '# HELP "my.\\"gauge\\"" G.\n# TYPE "my.\\"gauge\\"" gauge\n{"my.\\"gauge\\"","a.b"="1",a_b="2","app.name"="shop"} 1\n\n' +
      '# HELP "plain.total" G.\n# TYPE "plain.total" gauge\n{"plain.total","app.name"="shop"} 2\n',
  );
  expect(await as("underscores")).toBe(
    '# HELP my__gauge_ G.\n# TYPE my__gauge_ gauge\nmy__gauge_{a_b_="1",a_b="2",app_name="shop"} 1\n\n' +
      '# HELP plain_total G.\n# TYPE plain_total gauge\nplain_total{app_name="shop"} 2\n',
  );
});
