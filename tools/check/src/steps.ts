// Runs the steps of a check, some at a time, and reports them: a line for each, its faults below it.

export interface Step {
  readonly name: string;
  /** The faults, for people; none when all is well. */
  readonly run: () => Promise<readonly string[]>;
}

export interface RunOptions {
  readonly atOnce: number;
  readonly write: (text: string) => void;
}

/** Runs every step, also after one that found faults. Gives the exit status: 0, or 1 when there was any fault. */
export async function runSteps(steps: readonly Step[], { atOnce, write }: RunOptions): Promise<0 | 1> {
  const started = performance.now();
  let failed = 0;
  const queue = steps.values();
  const worker = async () => {
    for (const step of queue) {
      const stepStarted = performance.now();
      const faults = await faultsOf(step);
      if (faults.length > 0) failed++;
      write(report(step.name, faults, performance.now() - stepStarted));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const total = seconds(performance.now() - started);
  write(
    failed === 0
      ? `check: ${steps.length} steps passed in ${total}\n`
      : `check: ${failed} of ${steps.length} steps FAILED in ${total}\n`,
  );
  return failed === 0 ? 0 : 1;
}

async function faultsOf(step: Step): Promise<readonly string[]> {
  try {
    return await step.run();
  } catch (error) {
    return [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
}

function report(name: string, faults: readonly string[], durationMs: number): string {
  const line = `${faults.length === 0 ? "ok  " : "FAIL"}  ${name.padEnd(36)} ${seconds(durationMs)}\n`;
  return line + faults.map((fault) => `${fault.replace(/^(?=.)/gm, "      ")}\n`).join("");
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}
