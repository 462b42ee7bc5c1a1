// Shows how far a download is: a bar that is drawn over on a terminal, a line every tenth elsewhere.

/** Where the bar is drawn; `process.stderr` fits. */
export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface Progress {
  /** Where it comes from, if that is worth saying. */
  readonly source?: string;
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface ProgressBar {
  update(progress: Progress): void;
  /** Says something in a line of its own. */
  note(text: string): void;
  /** Leaves the last state on a line of its own; further calls of any do nothing. */
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
  let started: { source: string | undefined; at: number; bytes: number } | undefined;
  let last: Progress | undefined;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let ended = false;
  const draw = (progress: Progress, at: number) => {
    const seconds = started === undefined ? 0 : (at - started.at) / 1000;
    const rate = seconds > 0 && started ? (progress.bytes - started.bytes) / seconds : 0;
    drawOver(output, lineOf(label, progress, rate, output.columns));
    drawnAt = at;
  };
  return {
    update(progress) {
      if (ended) return;
      const at = now();
      if (started === undefined || started.source !== progress.source)
        started = { source: progress.source, at, bytes: progress.bytes };
      last = progress;
      if (at - drawnAt >= redrawEveryMs || progress.bytes >= progress.totalBytes) draw(progress, at);
    },
    note(text) {
      if (ended) return;
      if (last !== undefined) drawOver(output, "");
      output.write(`${text}\n`);
      if (last !== undefined) draw(last, now());
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
      output.write(`${labelOf(label, progress)}: ${reached * 10} % (${amountOf(progress)})\n`);
    },
    note(text) {
      if (!ended) output.write(`${text}\n`);
    },
    end() {
      ended = true;
    },
  };
}

const labelOf = (label: string, { source }: Progress): string =>
  source === undefined ? label : `${label} from ${source}`;

const shareOf = ({ bytes, totalBytes }: Progress): number =>
  totalBytes > 0 ? Math.min(Math.max(bytes / totalBytes, 0), 1) : 0;

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);

const amountOf = ({ bytes, totalBytes }: Progress): string =>
  `${megabytes(bytes)} of ${megabytes(totalBytes)} MB`;

function lineOf(
  label: string,
  progress: Progress,
  bytesPerSecond: number,
  columns: number | undefined,
): string {
  const rate = bytesPerSecond > 0 ? `, ${megabytes(bytesPerSecond)} MB/s` : "";
  return barLine({
    before: labelOf(label, progress),
    share: shareOf(progress),
    after: amountOf(progress) + rate,
    columns,
  });
}

export interface BarLine {
  readonly before: string;
  /** From 0 to 1; without it there is no bar. */
  readonly share: number | undefined;
  readonly after: string;
  /** Of the terminal; undefined if it does not say. */
  readonly columns: number | undefined;
}

/** A bar with its texts, as wide as fits. */
export function barLine({ before, share, after, columns = defaultColumns }: BarLine): string {
  // The last column stays free, or some terminals would begin a new line.
  const most = Math.max(columns - 1, 0);
  if (share === undefined) return `${before}  ${after}`.slice(0, most);
  const known = Math.min(Math.max(share, 0), 1);
  const percent = `${Math.floor(known * 100)} %`.padStart(5);
  const end = ` ${percent}  ${after}`;
  const width = Math.min(most - before.length - 1 - end.length - 2, widestBar);
  if (width < 5) return `${before} ${end.trimStart()}`.slice(0, most);
  const filled = Math.floor(known * width);
  return `${before} [${"#".repeat(filled)}${".".repeat(width - filled)}]${end}`;
}

/** Replaces the terminal's line: carriage return, the text, and "erase to the end of the line" (ECMA-48, EL). */
export function drawOver(output: ProgressOutput, text: string): void {
  output.write(`\r${text}\u001B[K`);
}
