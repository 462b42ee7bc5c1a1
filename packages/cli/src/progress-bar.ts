// Shows how far a download is: a bar that is drawn over on a terminal, a line every tenth elsewhere.

/** Where the bar is drawn; `process.stderr` fits. */
export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface Progress {
  readonly source: string;
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface ProgressBar {
  update(progress: Progress): void;
  /** Leaves the last state on a line of its own; further calls of either do nothing. */
  end(): void;
}

export interface ProgressBarOptions {
  readonly output: ProgressOutput;
  /** What is being had, for instance the model's name. */
  readonly label: string;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

const redrawEveryMs = 100;
const defaultColumns = 80;
const widestBar = 40;

export function createProgressBar({
  output,
  label,
  now = () => performance.now(),
}: ProgressBarOptions): ProgressBar {
  return output.isTTY === true ? drawnBar(output, label, now) : printedLines(output, label);
}

function drawnBar(output: ProgressOutput, label: string, now: () => number): ProgressBar {
  let started: { source: string; at: number; bytes: number } | undefined;
  let last: Progress | undefined;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let ended = false;
  const draw = (progress: Progress, at: number) => {
    const seconds = started === undefined ? 0 : (at - started.at) / 1000;
    const rate = seconds > 0 && started ? (progress.bytes - started.bytes) / seconds : 0;
    const text = barLine(label, progress, rate, (output.columns ?? defaultColumns) - 1);
    // Carriage return, the line, and "erase to the end of the line" (ECMA-48, EL).
    output.write(`\r${text}\u001B[K`);
    drawnAt = at;
  };
  return {
    update(progress) {
      if (ended) return;
      const at = now();
      if (started?.source !== progress.source)
        started = { source: progress.source, at, bytes: progress.bytes };
      last = progress;
      if (at - drawnAt >= redrawEveryMs || progress.bytes >= progress.totalBytes) draw(progress, at);
    },
    end() {
      if (ended) return;
      ended = true;
      if (last === undefined) return;
      draw(last, now());
      output.write("\n");
    },
  };
}

function printedLines(output: ProgressOutput, label: string): ProgressBar {
  let source: string | undefined;
  let tenth = -1;
  let ended = false;
  return {
    update(progress) {
      if (ended) return;
      if (progress.source !== source) {
        source = progress.source;
        tenth = -1;
      }
      const reached = Math.floor(shareOf(progress) * 10);
      if (reached <= tenth) return;
      tenth = reached;
      output.write(`${label} from ${progress.source}: ${reached * 10} % (${amountOf(progress)})\n`);
    },
    end() {
      ended = true;
    },
  };
}

const shareOf = ({ bytes, totalBytes }: Progress): number =>
  totalBytes > 0 ? Math.min(Math.max(bytes / totalBytes, 0), 1) : 0;

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);

const amountOf = ({ bytes, totalBytes }: Progress): string =>
  `${megabytes(bytes)} of ${megabytes(totalBytes)} MB`;

function barLine(label: string, progress: Progress, bytesPerSecond: number, columns: number): string {
  const share = shareOf(progress);
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  const rate = bytesPerSecond > 0 ? `, ${megabytes(bytesPerSecond)} MB/s` : "";
  const before = `${label} from ${progress.source} `;
  const after = ` ${percent}  ${amountOf(progress)}${rate}`;
  const width = Math.min(columns - before.length - after.length - 2, widestBar);
  if (width < 5) return `${before}${after.trimStart()}`.slice(0, Math.max(columns, 0));
  const filled = Math.floor(share * width);
  return `${before}[${"#".repeat(filled)}${".".repeat(width - filled)}]${after}`;
}
