import { describe, expect, test, vi } from "vitest";
import { Gauge } from "./gauge.ts";
import { Registry } from "./registry.ts";
import { type ScrapeOptions, scrape } from "./scrape.ts";

const format = { kind: "text", version: "0.0.4", escaping: "underscores" } as const;

async function scraped(registry: Registry, options: Partial<ScrapeOptions> = {}) {
  const errors = new Map<string, unknown>();
  let text = "";
  const onCollectError = (metric: string, error: unknown) => void errors.set(metric, error);
  for await (const chunk of scrape(registry, { format, onCollectError, ...options }))
    text += Buffer.from(chunk).toString();
  return { values: text.match(/^\w+ \S+$/gm) ?? [], errors };
}

function gauge(registry: Registry, name: string, collect: (this: Gauge<string>) => void | Promise<void>) {
  return new Gauge({ name, help: "G.", collect, registers: [registry] });
}

/** A callback that does not end before it is told to. */
function waiting() {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const calls = { count: 0 };
  return {
    calls,
    promise,
    resolve,
    reject,
    collect: () => {
      calls.count += 1;
      return promise;
    },
  };
}

/** The event loop turns once. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("a collect callback", () => {
  test("sets its metric, which is its this, before the values are read", async () => {
    const registry = new Registry();
    gauge(registry, "sync", function () {
      this.set(1);
    });
    gauge(registry, "async", async function () {
      await turn();
      this.set(2);
    });
    expect((await scraped(registry)).values).toEqual(["sync 1", "async 2"]);
  });

  test("that throws or rejects loses only its own metric", async () => {
    const registry = new Registry();
    gauge(registry, "before", () => {});
    gauge(registry, "throwing", () => {
      throw new Error("thrown");
    });
    gauge(registry, "rejecting", async () => {
      throw new Error("rejected");
    });
    gauge(registry, "after", () => {});
    const { values, errors } = await scraped(registry);
    expect(values).toEqual(["before 0", "after 0"]);
    expect(errors).toEqual(
      new Map([
        ["throwing", new Error("thrown")],
        ["rejecting", new Error("rejected")],
      ]),
    );
  });

  test("that hangs loses only its own metric, and is not called again while it hangs", async () => {
    const registry = new Registry();
    const hanging = waiting();
    gauge(registry, "fine", () => {});
    gauge(registry, "hanging", hanging.collect);

    const first = await scraped(registry, { collectTimeoutMs: 20 });
    expect(first.values).toEqual(["fine 0"]);
    expect(String(first.errors.get("hanging"))).toContain("took longer than 20 ms");
    // The second does not wait for it either: it would run into the test's timeout.
    const second = await scraped(registry, { collectTimeoutMs: 3_600_000 });
    expect(second.values).toEqual(["fine 0"]);
    expect(String(second.errors.get("hanging"))).toContain("still hangs");
    expect(hanging.calls.count).toBe(1);

    hanging.resolve();
    await turn();
    const third = await scraped(registry);
    expect(third.values).toEqual(["fine 0", "hanging 0"]);
    expect(hanging.calls.count).toBe(2);
  });

  test("that fails after it hung is no unhandled rejection, and is called again", async () => {
    const registry = new Registry();
    const hanging = waiting();
    gauge(registry, "hanging", hanging.collect);
    await scraped(registry, { collectTimeoutMs: 1 });
    hanging.reject(new Error("late"));
    await turn();
    const { errors } = await scraped(registry);
    expect(errors.get("hanging")).toEqual(new Error("late"));
    expect(hanging.calls.count).toBe(2);
  });

  test("that is asynchronous is started before others have ended", async () => {
    const registry = new Registry();
    const first = waiting();
    gauge(registry, "first", first.collect);
    gauge(registry, "second", async () => first.resolve());
    expect((await scraped(registry, { collectTimeoutMs: 3_600_000 })).values).toEqual([
      "first 0",
      "second 0",
    ]);
  });

  test("is called once for two scrapes at the same time", async () => {
    const registry = new Registry();
    const slow = waiting();
    gauge(registry, "slow", slow.collect);
    const both = Promise.all([scraped(registry), scraped(registry)]);
    await turn();
    slow.resolve();
    expect((await both).map(({ values }) => values)).toEqual([["slow 0"], ["slow 0"]]);
    expect(slow.calls.count).toBe(1);
  });

  test("does not hold a scrape that its signal ends", async () => {
    const registry = new Registry();
    gauge(registry, "hanging", waiting().collect);
    const controller = new AbortController();
    const ended = scraped(registry, { signal: controller.signal, collectTimeoutMs: 3_600_000 });
    await turn();
    controller.abort(new Error("gone"));
    await expect(ended).rejects.toThrow("gone");
  });

  test("that hangs holds nothing of scrapes that their signals ended", async () => {
    const registry = new Registry();
    const hanging = waiting();
    const then = vi.spyOn(hanging.promise, "then");
    gauge(registry, "hanging", hanging.collect);
    for (let round = 0; round < 5; round += 1) {
      const controller = new AbortController();
      const ended = scraped(registry, { signal: controller.signal, collectTimeoutMs: 3_600_000 });
      await turn();
      controller.abort(new Error("gone"));
      await expect(ended).rejects.toThrow("gone");
    }
    expect(then).toHaveBeenCalledTimes(1);
    hanging.resolve();
    expect((await scraped(registry)).values).toEqual(["hanging 0"]);
  });
});
