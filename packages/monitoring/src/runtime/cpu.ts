// CPU time of the process, as the operating system counts it from the start of the process on.
import type { CounterHandle, Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function showCpu(instruments: Instruments): () => void {
  const user = instruments.counter("process_cpu_user_seconds_total", () => {
    const { user: userMicros, system: systemMicros } = process.cpuUsage();
    showUser(userMicros);
    showSystem(systemMicros);
    showAll(userMicros + systemMicros);
  });
  const system = instruments.counter("process_cpu_system_seconds_total");
  const all = instruments.counter("process_cpu_seconds_total");
  const showUser = raiser(user.labels({}));
  const showSystem = raiser(system.labels({}));
  const showAll = raiser(all.labels({}));
  return () => withdraw(user, system, all);
}

/** Brings a new counter to what is counted elsewhere, which may have begun before. */
function raiser(counter: CounterHandle): (micros: number) => void {
  let shownMicros = 0;
  return (micros) => {
    // Both kinds only grow, by what Linux and macOS promise; a counter that goes back would look like a restart.
    if (micros <= shownMicros) return;
    counter.inc((micros - shownMicros) / 1e6);
    shownMicros = micros;
  };
}
