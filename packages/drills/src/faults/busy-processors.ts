// Keeps all processors of the machine busy, with what every other program goes before: who shares the machine hardly feels it.
import { availableParallelism, constants } from "node:os";
import { Worker } from "node:worker_threads";

// Its priority is that of its thread, as Linux has it.
const spin = `
  require("node:os").setPriority(${constants.priority.PRIORITY_LOW});
  const until = Date.now() + require("node:worker_threads").workerData.mostMs;
  while (Date.now() < until);
`;
// Should nobody end it.
const mostMs = 120_000;

/** Returns how to end it. */
export function burnProcessors(): () => Promise<void> {
  const workers = Array.from(
    { length: availableParallelism() },
    () => new Worker(spin, { eval: true, workerData: { mostMs } }),
  );
  return async () => {
    await Promise.all(workers.map((worker) => worker.terminate()));
  };
}
