// How busy the event loop is, over and over for a tenth of a second.
import { performance } from "node:perf_hooks";
import type { Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

const intervalMs = 100;

/** Returns how to end it. */
export function observeEventLoopUtilization(instruments: Instruments): () => void {
  const histogram = instruments.histogram("nodejs_eventloop_utilization_histogram");
  const series = histogram.labels({});
  let last = performance.eventLoopUtilization();
  let lastMs = performance.now();
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    const nowMs = performance.now();
    const { utilization } = performance.eventLoopUtilization(now, last);
    // Where the loop was blocked the timer is late: then it stands for all tenths of a second since.
    const tenths = Math.min(mostTenths, Math.round((nowMs - lastMs) / intervalMs));
    for (let tenth = 0; tenth < tenths; tenth += 1) series.observe(utilization);
    last = now;
    lastMs = nowMs;
  }, intervalMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    withdraw(histogram);
  };
}

// A process that was stopped for hours must not count them one by one when it goes on.
const mostTenths = 6_000;
