import { once } from "node:events";
import { stat } from "node:fs/promises";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { createShown } from "../testing/shown.ts";
import { showActiveResources } from "./active-resources.ts";

describe("active resources", () => {
  test("are counted by type while they are there, and have no series after", async () => {
    const shown = createShown();
    const end = showActiveResources(shown.instruments);
    const servers = await Promise.all(
      [1, 2, 3].map(async () => {
        const server = createServer().listen(0, "127.0.0.1");
        await once(server, "listening");
        return server;
      }),
    );
    const during = await shown.scrape();
    for (const server of servers) server.close();
    await Promise.all(servers.map((server) => once(server, "close")));
    // A handle ends a turn of the loop later.
    await until(async () => !(await shown.scrape()).has('nodejs_active_handles{type="Server"}'));
    expect((await shown.scrape()).has('nodejs_active_resources{type="TCPServerWrap"}')).toBe(false);
    end();
    expect(during.get('nodejs_active_handles{type="Server"}')).toBe(3);
    expect(during.get('nodejs_active_resources{type="TCPServerWrap"}')).toBe(3);
    for (const name of ["nodejs_active_handles", "nodejs_active_resources"]) {
      let sum = 0;
      for (const [series, value] of during) if (series.startsWith(`${name}{`)) sum += value;
      expect(during.get(`${name}_total`)).toBe(sum);
      expect(sum).toBeGreaterThanOrEqual(3);
    }
    expect([...(await shown.scrape()).keys()]).toEqual([]);
  });

  test("requests are counted while they are under way", async () => {
    const shown = createShown();
    const end = showActiveResources(shown.instruments);
    const requests = [stat("/"), stat("/"), stat("/")];
    const gauge = shown.registry.getSingleMetric("nodejs_active_requests");
    // Before the event loop turns, which a scrape has it do.
    const { values } = (await gauge?.get()) ?? { values: [] };
    await Promise.all(requests);
    end();
    const counted = values.reduce((sum, { value }) => sum + value, 0);
    expect(counted).toBeGreaterThanOrEqual(3);
  });

  test("those that last keep their series from one scrape to the next, so that a slow one does not lose them", async () => {
    const shown = createShown();
    const end = showActiveResources(shown.instruments);
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const gauge = shown.instruments.gauge("nodejs_active_handles");
    await shown.scrape();
    const series = gauge.labels({ type: "Server" }) as unknown as { readonly number: number };
    const { number } = series;
    await shown.scrape();
    expect(series.number).toBe(number);
    server.close();
    end();
  });
});
