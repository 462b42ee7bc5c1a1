// Scrapes that meet something: callbacks that fail or hang, other scrapes, slow or vanished scrapers, a busy process.
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { Counter, Gauge, Registry } from "@ectus/metrics";
import { expect, onTestFinished, test } from "vitest";
import { ask as askUrl, startTestExporter } from "../../../tests/monitoring/test-exporter.ts";
import { until } from "../../../tests/postgres/until.ts";
import type { Exporter } from "./prometheus-exporter.ts";

const timeoutSeconds = (seconds: number) => ({ "x-prometheus-scrape-timeout-seconds": String(seconds) });

/** A gauge whose callback does what the test says, and one that is always well. */
function twoGauges(collect: () => void | Promise<void>): Registry {
  const registry = new Registry();
  new Gauge({ name: "tricky", help: "T.", registers: [registry], collect }).set(1);
  new Gauge({ name: "plain", help: "P.", registers: [registry] }).set(2);
  return registry;
}

/** Series that make an exposition of many megabytes. */
function largeRegistry(series: number): Registry {
  const registry = new Registry();
  const counter = new Counter({
    name: "large_total",
    help: "L.",
    labelNames: ["name"],
    registers: [registry],
    maxSeries: series,
  });
  for (let index = 0; index < series; index++) counter.labels(`${"x".repeat(200)}${index}`).inc(index);
  return registry;
}

/** A scraper that has got the beginning of its answer and reads no more. */
async function openReader(exporter: Exporter, seconds: number): Promise<Socket> {
  const socket = connect(Number(new URL(exporter.url ?? "").port), "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  socket.write(`GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: ${seconds}\r\n\r\n`);
  await once(socket, "readable");
  return socket;
}

test("a callback that throws loses its metric alone, told once until it works again", async () => {
  let broken = true;
  const registry = twoGauges(() => {
    if (broken) throw new Error("sensor gone");
  });
  const { ask, lines } = await startTestExporter({ registry });
  for (let time = 0; time < 3; time++) {
    const { status, text } = await ask("/metrics");
    expect(status).toBe(200);
    expect(text).toContain("\nplain 2\n");
    expect(text).not.toContain("tricky 1");
  }
  broken = false;
  for (let time = 0; time < 2; time++) expect((await ask("/metrics")).text).toContain("\ntricky 1\n");
  broken = true;
  await ask("/metrics");
  const told = lines.filter(({ metric }) => metric === "tricky");
  expect(told.map(({ level }) => level)).toEqual(["warn", "info", "warn"]);
  expect(told[0]).toMatchObject({ err: { message: "sensor gone" } });
});

test("a callback that hangs loses its metric alone, within the scraper's time", async () => {
  const { ask } = await startTestExporter({ registry: twoGauges(() => new Promise(() => {})) });
  const { status, text } = await ask("/metrics", { headers: timeoutSeconds(0.4) });
  expect(status).toBe(200);
  expect(text).toContain("\nplain 2\n");
  expect(text).not.toContain("tricky 1");
});

test("a scrape leaves no timer behind", async () => {
  const timers = () => process.getActiveResourcesInfo().filter((type) => type === "Timeout").length;
  const { ask } = await startTestExporter({ registry: twoGauges(() => {}) });
  await ask("/metrics", { headers: timeoutSeconds(60) });
  const before = timers();
  for (let time = 0; time < 20; time++) await ask("/metrics", { headers: timeoutSeconds(60) });
  expect(timers() - before).toBeLessThan(10);
});

test("a scrape that takes longer than the scraper waits is refused with a reason, and observed", async () => {
  let slow = true;
  const registry = twoGauges(() => {
    const giveUpAt = performance.now() + 150;
    while (slow && performance.now() < giveUpAt);
  });
  const { ask, lines } = await startTestExporter({ registry });
  for (let time = 0; time < 2; time++) {
    expect(await ask("/metrics", { headers: timeoutSeconds(0.1) })).toMatchObject({
      status: 503,
      text: "The scrape took longer than 0.1 s.\n",
    });
  }
  slow = false;
  const { text } = await ask("/metrics");
  expect(text).toContain("\nmetrics_scrape_duration_seconds_count 2\n");
  expect(text).toContain('\nmetrics_scrape_duration_seconds_bucket{le="0.1"} 0\n');
  expect(lines.slice(1).map(({ level, msg }) => [level, msg])).toEqual([
    ["warn", "a scrape failed"],
    ["info", "scrapes succeed again"],
  ]);
});

test("what fails in the exporter itself is a 500, told once", async () => {
  class BrokenRegistry extends Registry {
    override getMetricsAsArray(): never {
      throw new Error("broken registry");
    }
  }
  const { ask, lines } = await startTestExporter({ registry: new BrokenRegistry() });
  for (let time = 0; time < 2; time++) {
    expect(await ask("/metrics")).toMatchObject({
      status: 500,
      text: "The metrics could not be collected.\n",
    });
  }
  expect(lines.filter(({ level }) => level === "warn")).toMatchObject([
    { err: { message: "broken registry" } },
  ]);
  expect((await ask("/-/healthy")).status).toBe(200);
});

test("of more scrapes at once than there may be the rest is sent away, and the health page is not", async () => {
  const { exporter, ask } = await startTestExporter({ registry: largeRegistry(100_000), maxScrapes: 2 });
  const readers = [await openReader(exporter, 60), await openReader(exporter, 60)];
  const third = await ask("/metrics");
  expect(third).toMatchObject({ status: 503, text: expect.stringContaining("2 scrapes are under way") });
  expect(third.headers["retry-after"]).toBe("1");
  expect((await ask("/-/healthy")).status).toBe(200);
  expect((await ask("/metrics", { method: "HEAD" })).status).toBe(200);
  readers[0]?.destroy();
  await until(async () => (await ask("/metrics")).status === 200);
});

test("a scraper that goes away ends its scrape, which is no failure", async () => {
  const collecting = Promise.withResolvers<void>();
  const registry = twoGauges(() => {
    collecting.resolve();
    return new Promise(() => {});
  });
  const { ask, lines } = await startTestExporter({ registry, maxScrapes: 1 });
  const leaving = new AbortController();
  const left = ask("/metrics", { signal: leaving.signal, headers: timeoutSeconds(60) });
  left.catch(() => {});
  await collecting.promise;
  leaving.abort();
  await expect(left).rejects.toThrow();
  // Sooner than the second that the callback has: the scrape has ended, not its time.
  await until(async () => (await ask("/metrics", { headers: timeoutSeconds(0.2) })).status === 200, 700);
  expect(lines.map(({ msg }) => msg)).not.toContain("a scrape failed");
});

test("a scraper that does not read holds little memory, and no longer than its time", async () => {
  const { exporter, ask } = await startTestExporter({ registry: largeRegistry(150_000), maxScrapes: 1 });
  const whole = (await ask("/metrics")).body.length;
  expect(whole).toBeGreaterThan(30e6);
  const before = process.memoryUsage().external;
  const socket = await openReader(exporter, 2);
  let most = 0;
  await until(async () => {
    most = Math.max(most, process.memoryUsage().external - before);
    return (await ask("/metrics", { method: "GET", headers: timeoutSeconds(30) })).status === 200;
  });
  expect(most).toBeLessThan(whole / 3);
  // It was cut off: what is left in the socket does not end as a whole answer does.
  const rest: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => rest.push(chunk)).on("error", () => {});
  socket.resume();
  await once(socket, "close");
  expect(Buffer.concat(rest).subarray(-5).toString()).not.toBe("0\r\n\r\n");
}, 60_000);

test("while the API in the same process is overloaded, scrapes are answered", async () => {
  const registry = largeRegistry(5_000);
  const { ask } = await startTestExporter({ registry });
  // An API whose every request takes 2 ms of the event loop, with more clients than it can serve.
  const api = createServer((_request, response) => {
    const until = performance.now() + 2;
    while (performance.now() < until);
    response.end("done");
  });
  api.listen(0, "127.0.0.1");
  await once(api, "listening");
  const url = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
  let load = true;
  let served = 0;
  const clients = Array.from({ length: 64 }, async () => {
    while (load) {
      await askUrl(url);
      served += 1;
    }
  });
  await until(() => served > 100);
  for (let scrape = 0; scrape < 3; scrape++) {
    const before = served;
    const { status, text } = await ask("/metrics", { headers: timeoutSeconds(10) });
    expect(status).toBe(200);
    expect(text.match(/\nlarge_total\{/g)).toHaveLength(5_000);
    await until(() => served > before);
  }
  load = false;
  await Promise.all(clients);
  api.close();
}, 60_000);
