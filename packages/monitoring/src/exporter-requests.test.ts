// What no request should meet: a fault of the exporter's own. Its pages are in prometheus-exporter.test.ts.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { ask } from "../../../tests/monitoring/test-exporter.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createExporterRequests } from "./exporter-requests.ts";
import { createFaultLog } from "./fault-log.ts";
import { createShown } from "./testing/shown.ts";

test("a fault is answered with 500 and told once, and once that it is over", async () => {
  const { registry, instruments } = createShown();
  const { log, lines } = recordingLog();
  let broken = true;
  const tokens = () => {
    if (broken) throw new Error("no tokens");
    return [];
  };
  const server = createServer(
    createExporterRequests({
      registry,
      credentials: { tokens },
      maxScrapes: 1,
      scrapeSeconds: instruments.histogram("metrics_scrape_duration_seconds").labels({}),
      faults: createFaultLog(log),
    }),
  ).listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const status = async () => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`;
    return (await ask(url, { headers: { authorization: "Bearer any" } })).status;
  };
  for (let time = 0; time < 2; time += 1) expect(await status()).toBe(500);
  broken = false;
  for (let time = 0; time < 2; time += 1) expect(await status()).toBe(401);
  broken = true;
  expect(await status()).toBe(500);
  expect(lines.map(({ level }) => level)).toEqual(["warn", "info", "warn"]);
});
