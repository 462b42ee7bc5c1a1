// Clients against the drill's upstream, which answers what they ask as the API does.
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { startUpstream, type Upstream, type UpstreamFault } from "../upstream/upstream.ts";
import { type CustomerView, startTraffic, type Traffic } from "./traffic.ts";

let upstream: Upstream;
let traffic: Traffic;
beforeEach(async () => {
  upstream = await startUpstream();
  traffic = startTraffic({
    baseUrl: upstream.baseUrl.replace(/\/v1$/, ""),
    key: "drill",
    model: "m",
    perSecond: 100,
    pattern: ["chat", "stream", "models"],
    signal: new AbortController().signal,
  });
});
afterEach(async () => {
  await traffic.stop();
  await upstream.close();
});

/** The sum of what was seen until it is enough. */
async function seen(isEnough: (view: CustomerView) => boolean): Promise<void> {
  await until(() => isEnough(traffic.take()), 20_000, 300);
}

async function withFault(fault: UpstreamFault, isEnough: (view: CustomerView) => boolean): Promise<void> {
  await upstream.setFault(fault);
  await seen(isEnough);
  await upstream.setFault(undefined);
}

test("clients note what they see", async () => {
  await seen(
    ({ requests, answered, firstTokenMs }) =>
      requests > 10 && answered === requests && (firstTokenMs?.p95 ?? 0) < 5_000,
  );
  await withFault(
    { kind: "error", status: 503, every: 1 },
    ({ failed, answered, brokenStreams }) => (failed[503] ?? 0) > 5 && answered > 0 && brokenStreams === 0,
  );
  await withFault(
    { kind: "broken-stream", every: 1 },
    ({ failed, brokenStreams, answered }) =>
      Object.keys(failed).length === 0 && brokenStreams > 5 && answered > 5,
  );
  await withFault({ kind: "slow", beforeMs: 100 }, ({ firstTokenMs }) => (firstTokenMs?.median ?? 0) > 90);
  await withFault({ kind: "refused" }, ({ unreachable, answered }) => unreachable > 10 && answered === 0);
  await seen(({ requests, answered }) => requests > 10 && answered === requests);
});

test("more than a bound are never under way, and an end gives up what is", async () => {
  await upstream.setFault({ kind: "slow", beforeMs: 60_000 });
  await seen(({ heldBack }) => heldBack > 0);
  await traffic.stop();
  const { unreachable, timedOut, brokenStreams } = traffic.take();
  expect([unreachable, timedOut, brokenStreams]).toEqual([0, 0, 0]);
});

test("rejected requests are told apart from failures", async () => {
  await withFault(
    { kind: "error", status: 429, every: 1 },
    ({ rejected, failed }) => rejected > 5 && Object.keys(failed).length === 0,
  );
});
