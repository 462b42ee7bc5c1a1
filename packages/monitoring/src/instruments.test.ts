import { Counter, Gauge, Histogram } from "@ectus/metrics";
import { describe, expect, test } from "vitest";
import { catalogue } from "./catalogue.ts";
import {
  type CounterHandle,
  createInstruments,
  type GaugeHandle,
  type HistogramHandle,
  type Instrument,
  type Instruments,
  noInstruments,
} from "./instruments.ts";
import { createShown } from "./testing/shown.ts";

type AnyHandle = CounterHandle & GaugeHandle & HistogramHandle;
type Make = (name: string, collect?: () => void) => Instrument<Record<string, never>, AnyHandle>;

/** By a name that is not known to the compiler. */
function anyOf(instruments: Instruments): Record<"counter" | "gauge" | "histogram", Make> {
  return instruments as unknown as Record<"counter" | "gauge" | "histogram", Make>;
}

describe("instruments", () => {
  test("measure into the registry under their names", async () => {
    const { instruments, scrape } = createShown();
    expect(instruments.enabled).toBe(true);
    const requests = instruments.counter("http_requests_total");
    requests.labels({ method: "GET", path: "/v1/models", status: 200 }).inc();
    requests.labels({ method: "GET", path: "/v1/models", status: 200 }).inc(2);
    const waiting = instruments.gauge("db_pool_waiting").labels({});
    waiting.set(5);
    waiting.inc();
    waiting.dec(3);
    instruments.histogram("ai_model_load_duration_seconds").labels({ model: "m" }).observe(0.3);
    const values = await scrape();
    expect(values.get('http_requests_total{method="GET",path="/v1/models",status="200"}')).toBe(3);
    expect(values.get("db_pool_waiting")).toBe(3);
    expect(values.get('ai_model_load_duration_seconds_bucket{le="0.25",model="m"}')).toBe(0);
    expect(values.get('ai_model_load_duration_seconds_bucket{le="0.5",model="m"}')).toBe(1);
  });

  test("have all that the catalogue says of them", () => {
    const { instruments, registry } = createShown();
    const kinds = { counter: Counter, gauge: Gauge, histogram: Histogram };
    for (const [name, entry] of Object.entries(catalogue)) {
      anyOf(instruments)[entry.type](name);
      const metric = registry.getSingleMetric(name);
      expect(metric).toBeInstanceOf(kinds[entry.type]);
      expect(metric).toMatchObject({
        name,
        help: entry.help,
        labelNames: Object.keys(entry.labels),
        unit: "unit" in entry ? entry.unit : undefined,
        table: { maxSeries: "maxSeries" in entry ? entry.maxSeries : 2000 },
      });
      if (!(metric instanceof Histogram && entry.type === "histogram")) continue;
      expect(metric.bounds).toEqual(entry.buckets);
      expect(metric.native !== undefined).toBe(entry.native);
    }
    expect(registry.getMetricsAsArray()).toHaveLength(Object.keys(catalogue).length);
  });

  test("are the same, however often they are asked for", () => {
    const { instruments } = createShown();
    expect(instruments.counter("ai_tokens_total")).toBe(instruments.counter("ai_tokens_total"));
  });

  test("of two registries have nothing in common", async () => {
    const [one, other] = [createShown(), createShown()];
    one.instruments.gauge("db_pool_size").labels({}).set(1);
    other.instruments.gauge("db_pool_size").labels({}).set(2);
    expect(await one.value("db_pool_size")).toBe(1);
    expect(await other.value("db_pool_size")).toBe(2);
  });

  test("take no other names, labels and values", () => {
    const { instruments } = createShown();
    // @ts-expect-error
    expect(() => instruments.counter("no_such_total")).toThrow();
    const state = instruments.gauge("db_pool_connections");
    // @ts-expect-error
    expect(() => state.labels({ state: "idle", table: "files" })).toThrow(/table/);
    const size = instruments.gauge("db_pool_size");
    // @ts-expect-error
    expect(() => size.labels({ state: "idle" })).toThrow(/state/);
    // Of what costs time at each call, only the compiler says something.
    // @ts-expect-error
    state.labels({ state: "asleep" });
    // @ts-expect-error
    state.labels({});
    // @ts-expect-error
    expect(() => instruments.gauge("ai_tokens_total").labels({}).set(1)).toThrow();
  });
});

describe("a collect callback of an instrument", () => {
  test("is called before each scrape, also when it comes after the instrument", async () => {
    const { instruments, value } = createShown();
    const size = instruments.gauge("db_pool_size");
    size.labels({}).set(1);
    expect(await value("db_pool_size")).toBe(1);
    let scrapes = 10;
    instruments.gauge("db_pool_size", (gauge) => {
      expect(gauge).toBe(size);
      scrapes += 1;
      gauge.labels({}).set(scrapes);
    });
    expect(await value("db_pool_size")).toBe(11);
    expect(await value("db_pool_size")).toBe(12);
  });

  test("may take its time", async () => {
    const { instruments, value } = createShown();
    instruments.gauge("db_pool_size", async (gauge) => {
      await new Promise((resolve) => setImmediate(resolve));
      gauge.labels({}).set(3);
    });
    expect(await value("db_pool_size")).toBe(3);
  });

  test("is the only one of its metric until that stops collecting", async () => {
    const { instruments, value } = createShown();
    const size = instruments.gauge("db_pool_size", (gauge) => gauge.labels({}).set(1));
    const second = () => instruments.gauge("db_pool_size", (gauge) => gauge.labels({}).set(2));
    expect(second).toThrow(/db_pool_size has a collect callback already/);
    expect(await value("db_pool_size")).toBe(1);
    size.stopCollecting();
    size.labels({}).set(5);
    expect(await value("db_pool_size")).toBe(5);
    second();
    expect(await value("db_pool_size")).toBe(2);
  });
});

describe("the series of an instrument", () => {
  test("are removed one by one, all, or altogether, and made again by a value", async () => {
    const { instruments, scrape } = createShown();
    const connections = instruments.gauge("db_pool_connections");
    const size = instruments.gauge("db_pool_size");
    const kept = size.labels({});
    connections.labels({ state: "active" }).set(1);
    connections.labels({ state: "idle" }).set(2);
    kept.set(3);
    connections.remove({ state: "active" });
    expect(Object.fromEntries(await scrape())).toEqual({
      'db_pool_connections{state="idle"}': 2,
      db_pool_size: 3,
    });
    connections.reset();
    size.reset();
    expect(Object.fromEntries(await scrape())).toEqual({ db_pool_size: 0 });
    connections.labels({ state: "idle" }).set(2);
    connections.clear();
    size.clear();
    expect(Object.fromEntries(await scrape())).toEqual({});
    kept.inc();
    connections.labels({ state: "idle" }).inc();
    expect(Object.fromEntries(await scrape())).toEqual({
      'db_pool_connections{state="idle"}': 1,
      db_pool_size: 1,
    });
  });
});

describe("instruments that measure nothing", () => {
  test("take all that others take", () => {
    expect(noInstruments.enabled).toBe(false);
    for (const [name, { type }] of Object.entries(catalogue)) {
      let collected = false;
      const instrument = anyOf(noInstruments)[type](name, () => {
        collected = true;
      });
      const handle = instrument.labels({});
      handle.inc();
      handle.inc(-1);
      handle.set(1);
      handle.dec();
      handle.observe(Number.NaN);
      instrument.remove({});
      instrument.reset();
      instrument.clear();
      instrument.stopCollecting();
      expect(collected).toBe(false);
    }
  });

  test("have whatever others have", () => {
    const { instruments } = createShown();
    const handles = (of: typeof instruments) => [
      of.counter("ai_tokens_total").labels({ model: "m", type: "input" }),
      of.gauge("db_pool_size").labels({}),
      of.histogram("db_pool_wait_duration_seconds").labels({}),
    ];
    for (const handle of handles(noInstruments)) expect(handle).toBe(handles(noInstruments)[0]);
    expect(Object.keys(noInstruments)).toEqual(Object.keys(createInstruments(createShown().registry)));
  });
});
