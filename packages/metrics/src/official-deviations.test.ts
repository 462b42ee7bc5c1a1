// Where this client differs from the official one on purpose, each with its reason. Each test shows what both do, so
// that a deviation which the official client gives up is noticed. How texts differ is tested with the expositions.
import official from "@prometheus-io/client";
import { expect, test } from "vitest";
import { Counter } from "./counter.ts";
import { Gauge } from "./gauge.ts";
import { Histogram } from "./histogram.ts";
import { Registry } from "./registry.ts";

interface Client {
  readonly Counter: typeof official.Counter;
  readonly Gauge: typeof official.Gauge;
  readonly Histogram: typeof official.Histogram;
  readonly Registry: typeof official.Registry;
}

interface Deviation {
  readonly what: string;
  readonly why: string;
  readonly call: (client: Client) => unknown;
  readonly mine: unknown;
  readonly theirs: unknown;
}

const configuration = { name: "m", help: "m", labelNames: ["a", "b"], registers: [] };

/** Values by their labels, those of the buckets left out. */
async function valuesOf(metric: { get(): Promise<{ values: { labels: object; value: number }[] }> }) {
  const { values } = await metric.get();
  return values.flatMap(({ labels, value }) => ("le" in labels ? [] : [[labels, value]]));
}

/** What a call gives, or that it was refused. */
function orRefused(call: () => unknown): unknown {
  try {
    return call();
  } catch {
    return "refused";
  }
}

const deviations: readonly Deviation[] = [
  {
    what: "a metric is refused whose series would be called like those of a histogram",
    why: "a scraper could not tell them apart",
    call: (client) => {
      const registers = [new client.Registry()];
      new client.Histogram({ name: "h", help: "h", registers });
      return orRefused(() => new client.Gauge({ name: "h_sum", help: "g", registers }) && "made");
    },
    mine: "refused",
    theirs: "made",
  },
  {
    what: "values that differ only in half a character are one series",
    why: "both are written with the replacement character, and one series twice is what Prometheus drops",
    call: async (client) => {
      const gauge = new client.Gauge({ name: "g", help: "g", labelNames: ["a"], registers: [] });
      for (const a of ["\ud800", "\ud801"]) gauge.inc({ a });
      return (await gauge.get()).values.length;
    },
    mine: 1,
    theirs: 2,
  },
  {
    what: "names of metrics and labels may be any UTF-8",
    why: "Prometheus 3 takes them; for older ones they are escaped",
    call: (client) =>
      orRefused(
        () => new client.Gauge({ ...configuration, name: "größe.m", labelNames: ["http.method"] }) && "made",
      ),
    mine: "made",
    theirs: "refused",
  },
  {
    what: "a label name is refused twice, and when it begins with __",
    why: "Prometheus refuses the whole scrape for the first, and uses the second itself",
    call: (client) =>
      [["a", "a"], ["__name__"]].map((labelNames) =>
        orRefused(() => typeof new client.Gauge({ ...configuration, labelNames })),
      ),
    mine: ["refused", "refused"],
    theirs: ["object", "object"],
  },
  {
    what: "buckets that do not ascend are refused",
    why: "their cumulative counts would go down, and quantiles would be wrong",
    call: (client) => orRefused(() => typeof new client.Histogram({ ...configuration, buckets: [2, 1] })),
    mine: "refused",
    theirs: "object",
  },
  {
    what: "labels gives a series that is there with 0 at once",
    why: "as in Prometheus's own clients: a rate sees the first increase only if there was a 0 before",
    call: (client) => {
      const counter = new client.Counter(configuration);
      counter.labels("x", "y");
      return valuesOf(counter);
    },
    mine: [[{ a: "x", b: "y" }, 0]],
    theirs: [],
  },
  {
    what: "an unlabelled histogram is there with zeros again after reset",
    why: "as it is when it is new, and as counters and gauges are",
    call: (client) => {
      const histogram = new client.Histogram({ ...configuration, labelNames: [] });
      histogram.reset();
      return valuesOf(histogram);
    },
    mine: [
      [{}, 0],
      [{}, 0],
    ],
    theirs: [],
  },
  {
    what: "a label left out, undefined or empty is the same",
    why: "it is to Prometheus, which refuses a label set that occurs twice; the official client has two of them here",
    call: (client) => {
      const counter = new client.Counter(configuration);
      counter.inc();
      counter.inc({ a: "" });
      counter.inc({ a: undefined as unknown as string });
      return valuesOf(counter);
    },
    mine: [[{}, 3]],
    theirs: [
      [{}, 1],
      [{ a: "" }, 2],
    ],
  },
  {
    what: "a label named like something that every object has is only what was given",
    why: "the official client reads the constructor of Object as its value, and has two series here",
    call: (client) => {
      const counter = new client.Counter({ ...configuration, labelNames: ["a", "constructor"] });
      counter.inc({ a: "x" } as unknown as { constructor: string });
      counter.inc(Object.assign(Object.create(null), { a: "x" }));
      return valuesOf(counter);
    },
    mine: [[{ a: "x" }, 2]],
    theirs: [
      [{ a: "x" }, 1],
      [{ a: "x" }, 1],
    ],
  },
  {
    what: "values with a bar in them are kept apart",
    why: "they are different label sets",
    call: (client) => {
      const counter = new client.Counter(configuration);
      counter.inc({ a: "x|y", b: "z" });
      counter.inc({ a: "x", b: "y|z" });
      return valuesOf(counter);
    },
    mine: [
      [{ a: "x|y", b: "z" }, 1],
      [{ a: "x", b: "y|z" }, 1],
    ],
    theirs: [[{ a: "x|y", b: "z" }, 2]],
  },
  {
    what: "label values are texts in get, and a label set is not the caller's object",
    why: '200 and "200" are one series, and a caller who changes an object changes no series',
    call: (client) => {
      const counter = new client.Counter(configuration);
      const labels = { a: 200, b: "x" };
      counter.inc(labels);
      labels.b = "changed later";
      return valuesOf(counter);
    },
    mine: [[{ a: "200", b: "x" }, 1]],
    theirs: [[{ a: 200, b: "changed later" }, 1]],
  },
  {
    what: "NaN, texts and false are no increase of a counter",
    why: "one NaN makes a counter NaN for good, a text makes it a text",
    call: (client) =>
      [Number.NaN, "", false].map((value) =>
        orRefused(() => new client.Counter(configuration).inc({ a: "x" }, value as number)),
      ),
    mine: ["refused", "refused", "refused"],
    theirs: [undefined, undefined, undefined],
  },
  {
    what: "texts are no decrease of a gauge, either",
    why: "inc and set refuse them, too",
    call: (client) =>
      orRefused(() => new client.Gauge(configuration).dec({ a: "x" }, "5" as unknown as number)),
    mine: "refused",
    theirs: undefined,
  },
  {
    what: "a counter with exemplars takes a number, or labels and a value, as one without",
    why: "the types of the official client have these signatures, but it takes both for 1 without labels",
    call: (client) => {
      const counter = new client.Counter({ ...configuration, enableExemplars: true });
      counter.inc(5);
      counter.inc({ a: "x" }, 3);
      return valuesOf(counter);
    },
    mine: [
      [{}, 5],
      [{ a: "x" }, 3],
    ],
    theirs: [[{}, 2]],
  },
  {
    what: "a kept series of a counter with exemplars counts its own label set",
    why: "the official client takes its labels for the object with labels and value in it",
    call: (client) => {
      const counter = new client.Counter({ ...configuration, enableExemplars: true });
      counter.labels({ a: "x" }).inc(3);
      return valuesOf(counter);
    },
    mine: [[{ a: "x" }, 3]],
    theirs: [[{}, 1]],
  },
  {
    what: "the value of a counter's exemplar is what was added",
    why: "it is in Prometheus's own clients; the official client has the total",
    call: async (client) => {
      const counter = new client.Counter({ ...configuration, enableExemplars: true });
      counter.inc({ value: 2, exemplarLabels: { a: "1" } });
      counter.inc({ value: 3, exemplarLabels: { a: "1" } });
      const { values } = await counter.get();
      return (values[0] as unknown as { exemplar: { value: number } }).exemplar.value;
    },
    mine: 3,
    theirs: 5,
  },
  {
    what: "characters of exemplars are counted as OpenMetrics has it",
    why: "128 characters, not 128 halves of a UTF-16 pair",
    call: (client) => {
      const counter = new client.Counter({ ...configuration, enableExemplars: true });
      return orRefused(() => counter.inc({ exemplarLabels: { a: "🙂".repeat(100) } }));
    },
    mine: undefined,
    theirs: "refused",
  },
  {
    what: "exemplars need no registry that is for OpenMetrics only",
    why: "the format is negotiated with each scraper",
    call: (client) =>
      orRefused(
        () =>
          typeof new client.Counter({
            ...configuration,
            registers: [new client.Registry() as never],
            enableExemplars: true,
          }),
      ),
    mine: "object",
    theirs: "refused",
  },
  {
    what: "there is a cap on label sets, of 2,000 by default",
    why: "a label that takes any value must not take all memory",
    call: async (client) => {
      const counter = new client.Counter(configuration);
      for (let a = 0; a < 3000; a += 1) counter.inc({ a });
      return (await counter.get()).values.length;
    },
    mine: 2001,
    theirs: 3000,
  },
  {
    what: "default labels are not put into the metrics themselves",
    why: "a metric may be in several registries",
    call: async (client) => {
      const registry = new client.Registry();
      const counter = new client.Counter({ ...configuration, registers: [registry as never] });
      counter.inc({ a: "x" });
      registry.setDefaultLabels({ app: "default" });
      await registry.getMetricsAsJSON();
      return valuesOf(counter);
    },
    mine: [[{ a: "x" }, 1]],
    theirs: [[{ a: "x", app: "default" }, 1]],
  },
  {
    what: "a metric whose collect callback fails is left out of the text",
    why: "it must not take the others with it; onCollectError tells of it",
    call: async (client) => {
      const registry = new client.Registry();
      const collect = () => {
        throw new Error("failed");
      };
      new client.Gauge({ name: "failing", help: "g", registers: [registry as never], collect });
      new client.Gauge({ name: "fine", help: "g", registers: [registry as never] });
      return registry.metrics().then(
        (text) => text.match(/^\w+ \d$/gm),
        () => "refused",
      );
    },
    mine: ["fine 0"],
    theirs: "refused",
  },
  {
    what: "metrics have no aggregator",
    why: "one process is one target: there is no merging of several processes",
    call: async (client) => "aggregator" in (await new client.Counter(configuration).get()),
    mine: false,
    theirs: true,
  },
];

test.each(deviations)("$what ($why)", async ({ call, mine, theirs }) => {
  const here = { Counter, Gauge, Histogram, Registry } as unknown as Client;
  expect(await call(here)).toEqual(mine);
  expect(await call(official)).toEqual(theirs);
});
