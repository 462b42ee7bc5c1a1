import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Gauge } from "./gauge.ts";

const create = () => new Gauge({ name: "g", help: "g", labelNames: ["a", "b"], registers: [] });

async function valuesOf(gauge: Gauge<"a" | "b">): Promise<Record<string, number>> {
  const { values } = await gauge.get();
  return Object.fromEntries(values.map(({ labels, value }) => [Object.values(labels).join(" "), value]));
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_500, toFake: ["Date", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("it is set, goes up and goes down, by its labels or kept", async () => {
  const gauge = create();
  gauge.set({ a: "x" }, 5);
  gauge.inc({ a: "x" });
  gauge.inc({ a: "x" }, 2);
  gauge.dec({ a: "x" });
  gauge.dec({ a: "x" }, 0.5);
  const kept = gauge.labels("y", "z");
  kept.set(-5);
  kept.inc();
  kept.inc(2);
  kept.dec();
  kept.dec(0.5);
  expect(await valuesOf(gauge)).toEqual({ x: 6.5, "y z": -3.5 });
});

test("without labels it is there with 0 from the beginning, and any number can be set", () => {
  const gauge = new Gauge({ name: "g", help: "g", registers: [] });
  const value = () => gauge.table.values[0];
  expect(value()).toBe(0);
  for (const to of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1e300]) {
    gauge.set(to);
    expect(value()).toBe(to);
  }
  gauge.set(1);
  gauge.inc();
  gauge.dec(5);
  gauge.dec();
  expect(value()).toBe(-4);
});

test.each(["5", true, 5n, {}])("%s is no number and changes nothing", (value) => {
  const gauge = create();
  const kept = gauge.labels("kept", "");
  const no = value as unknown as number;
  const calls = [
    () => gauge.set({ a: "x" }, no),
    () => gauge.inc({ a: "x" }, no),
    () => gauge.dec({ a: "x" }, no),
    () => kept.set(no),
    () => kept.inc(no),
    () => kept.dec(no),
  ];
  for (const call of calls) expect(call).toThrow(TypeError);
  expect(gauge.table.size).toBe(1);
});

test("set needs a value, the others take 1", async () => {
  const gauge = create();
  expect(() => gauge.set({ a: "x" }, undefined as unknown as number)).toThrow(TypeError);
  expect(() => gauge.set(undefined as unknown as number)).toThrow(TypeError);
  gauge.inc({ a: "x" }, null as unknown as number);
  gauge.labels("x", "").dec(null as unknown as number);
  expect(await valuesOf(gauge)).toEqual({ x: 0 });
});

test("the time is in seconds", async () => {
  const gauge = create();
  gauge.setToCurrentTime();
  gauge.setToCurrentTime({ a: "x" });
  gauge.labels("y", "").setToCurrentTime();
  expect(await valuesOf(gauge)).toEqual({ "": 1_700_000_000.5, x: 1_700_000_000.5, y: 1_700_000_000.5 });
});

test("a timer sets the seconds since it was started, with labels from its start and its end", async () => {
  const gauge = create();
  const ends = [
    gauge.startTimer({ a: "x" }),
    gauge.startTimer(),
    gauge.labels("y", "").startTimer(),
    gauge.labels("z", "1").startTimer(),
  ] as const;
  vi.advanceTimersByTime(1500);
  expect(ends[0]({ b: 1 })).toBeCloseTo(1.5);
  ends[1]();
  ends[2]();
  ends[3]({ b: 2 });
  const values = Object.entries(await valuesOf(gauge)).map(([key, value]) => [key, Math.round(value * 1000)]);
  expect(Object.fromEntries(values)).toEqual({ "x 1": 1500, "": 1500, y: 1500, "z 1": 0, "z 2": 1500 });
});

test("a value that makes the table grow is not lost", async () => {
  const gauge = create();
  for (let a = 0; a < 20; a += 1) gauge.set({ a, b: "set" }, a);
  for (let a = 0; a < 20; a += 1) gauge.inc({ a, b: "inc" }, a);
  for (let a = 0; a < 20; a += 1) gauge.setToCurrentTime({ a, b: "time" });
  const values = await valuesOf(gauge);
  for (let a = 0; a < 20; a += 1) {
    expect(values[`${a} set`]).toBe(a);
    expect(values[`${a} inc`]).toBe(a);
    expect(values[`${a} time`]).toBeGreaterThan(0);
  }
});

test("a kept one goes on after it was removed", async () => {
  const gauge = create();
  const kept = gauge.labels("x", "");
  const end = kept.startTimer();
  for (const use of [() => kept.set(3), () => kept.inc(3), () => kept.dec(-3), () => end({ b: "" })]) {
    gauge.remove("x", "");
    expect(await valuesOf(gauge)).toEqual({});
    use();
    expect(Object.keys(await valuesOf(gauge))).toEqual(["x"]);
  }
});
