// How late the event loop is: every 20 ms a timer is due, and how late it comes is what any callback waits. It leaves
// out what a scrape blocks, which says when it works; see `pauseLag`. A timer in JavaScript, not
// `monitorEventLoopDelay`, because that one can neither leave out a part of the time without losing what it has, nor be
// merged. To wake up is what both cost.
import { performance } from "node:perf_hooks";
import type { Instruments } from "../instruments.ts";
import { createRecentValues } from "./recent-values.ts";
import { withdraw } from "./withdraw.ts";

const intervalMs = 20;

export interface EventLoopLag {
  /**
   * Called before work that is not to be seen, gives what to call after it. What was late until then is counted. Others
   * may pause at the same time; the lag is measured while nobody does.
   */
  pause(): () => void;
  stop(): void;
}

export function showEventLoopLag(instruments: Instruments): EventLoopLag {
  const nowMs = () => performance.now();
  const recent = createRecentValues({ most: 3_600_000_000, nowMs });
  let lastMicros: number | undefined;
  let dueMs = nowMs() + intervalMs;
  let pauses = 0;
  // The timer that was due in a pause comes early for the time after it.
  let isAfterPause = false;

  function record(lateMs: number): void {
    lastMicros = Math.max(1, Math.round(lateMs * 1000));
    recent.record(lastMicros);
  }

  const timer = setInterval(() => {
    if (pauses > 0) return;
    const now = nowMs();
    if (now >= dueMs || !isAfterPause) record(now - dueMs);
    isAfterPause = false;
    dueMs = now + intervalMs;
  }, intervalMs);
  timer.unref();

  const last = instruments.gauge("nodejs_eventloop_lag_seconds", () => {
    const values = recent.read();
    if (values === undefined || lastMicros === undefined) {
      for (const gauge of all()) gauge.clear();
      return;
    }
    const seconds = (micros: number) => micros / 1e6;
    last.labels({}).set(seconds(lastMicros));
    min.labels({}).set(seconds(values.min));
    max.labels({}).set(seconds(values.max));
    mean.labels({}).set(seconds(values.mean));
    stddev.labels({}).set(seconds(values.stddev));
    p50.labels({}).set(seconds(values.p50));
    p90.labels({}).set(seconds(values.p90));
    p99.labels({}).set(seconds(values.p99));
  });
  const min = instruments.gauge("nodejs_eventloop_lag_min_seconds");
  const max = instruments.gauge("nodejs_eventloop_lag_max_seconds");
  const mean = instruments.gauge("nodejs_eventloop_lag_mean_seconds");
  const stddev = instruments.gauge("nodejs_eventloop_lag_stddev_seconds");
  const p50 = instruments.gauge("nodejs_eventloop_lag_p50_seconds");
  const p90 = instruments.gauge("nodejs_eventloop_lag_p90_seconds");
  const p99 = instruments.gauge("nodejs_eventloop_lag_p99_seconds");
  const all = () => [last, min, max, mean, stddev, p50, p90, p99];

  return {
    pause() {
      if (pauses === 0) {
        // A scrape that begins right after something blocked comes before the timer, which would tell of that.
        const lateMs = nowMs() - dueMs;
        if (lateMs > 0) record(lateMs);
      }
      pauses += 1;
      let isOver = false;
      return () => {
        if (isOver) return;
        isOver = true;
        pauses -= 1;
        if (pauses > 0) return;
        isAfterPause = true;
        dueMs = nowMs() + intervalMs;
      };
    },
    stop() {
      clearInterval(timer);
      withdraw(...all());
    },
  };
}
