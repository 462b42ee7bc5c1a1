// Shows how far an export is: a bar that is drawn over on a terminal, a line at each phase elsewhere.
import type { ExportObject, ExportProgressFacts } from "./export-client.ts";
import { printable } from "./output.ts";
import { barLine, drawOver, type ProgressOutput } from "./progress-bar.ts";

export interface ExportProgress {
  update(state: ExportObject): void;
  /** Says something in a line of its own. */
  note(text: string): void;
  /** Leaves the last state on a line of its own; further calls of any do nothing. */
  end(): void;
}

const phaseTexts: Readonly<Record<string, string>> = {
  waiting: "waiting for a worker",
  snapshot: "taking the snapshot",
  tables: "writing tables",
  audit_log: "writing the audit log",
  files: "copying files",
  verifying: "verifying",
  sealing: "signing",
  done: "done",
};

export function showExportProgress(output: ProgressOutput): ExportProgress {
  const isDrawn = output.isTTY === true;
  let last: ExportObject | undefined;
  let shownPhase = "";
  let ended = false;
  const draw = (state: ExportObject): void => drawOver(output, lineOf(state, output.columns));
  return {
    update(state) {
      if (ended) return;
      last = state;
      if (isDrawn) return draw(state);
      const phase = phaseOf(state);
      if (phase === shownPhase) return;
      shownPhase = phase;
      output.write(`${printable(state.id)}: ${phase}\n`);
    },
    note(text) {
      if (ended) return;
      if (isDrawn) drawOver(output, "");
      output.write(`${text}\n`);
      if (isDrawn && last !== undefined) draw(last);
    },
    end() {
      if (ended) return;
      ended = true;
      if (isDrawn && last !== undefined) output.write("\n");
    },
  };
}

/** What is being done, in words. */
export function phaseOf({ state, phase, attempt }: ExportObject): string {
  if (state !== "queued" && state !== "running") return state;
  const text = phaseTexts[phase] ?? printable(phase);
  return attempt > 1 ? `${text} (attempt ${attempt})` : text;
}

function lineOf(state: ExportObject, columns: number | undefined): string {
  const { progress } = state;
  const share = state.state === "ready" ? 1 : shareOf(progress);
  return barLine({ before: phaseOf(state), share, after: amountsOf(progress).join(", "), columns });
}

/** Undefined while nobody knows how much there is. Bytes come first: rows of one table may be long and of another short. */
function shareOf({
  rows_done,
  rows_expected,
  bytes_done,
  bytes_expected,
}: ExportProgressFacts): number | undefined {
  if (bytes_expected !== null && bytes_expected > 0) return bytes_done / bytes_expected;
  if (rows_expected !== null && rows_expected > 0) return rows_done / rows_expected;
  return undefined;
}

/** How much is done, how fast, and how long it takes yet. */
export function amountsOf(progress: ExportProgressFacts): string[] {
  const { rows_done, rows_expected, bytes_done, bytes_per_second, rows_per_second, seconds_left } = progress;
  const rows =
    rows_expected === null ? countText(rows_done) : `${countText(rows_done)} of ${countText(rows_expected)}`;
  // An export of files alone has no rows.
  const amounts = rows_expected === 0 ? [] : [`${rows} rows`];
  amounts.push(bytesText(bytes_done));
  if (bytes_per_second !== null && bytes_per_second > 0) amounts.push(`${bytesText(bytes_per_second)}/s`);
  else if (rows_per_second !== null && rows_per_second > 0)
    amounts.push(`${countText(rows_per_second)} rows/s`);
  if (seconds_left !== null) amounts.push(`${durationText(seconds_left)} left`);
  return amounts;
}

export const countText = (value: number): string => Math.round(value).toLocaleString("en-US");

/** `0.0 MB` would say of a small export that nothing is in it. */
export function bytesText(bytes: number): string {
  return bytes > 0 && bytes < 1e5
    ? `${Math.max(bytes / 1e3, 0.1).toFixed(1)} kB`
    : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Of two units at most: `40 s`, `3 min 20 s`, `2 h 5 min`. */
export function durationText(seconds: number): string {
  const whole = Math.max(Math.ceil(seconds), 0);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 === 0 ? `${minutes} min` : `${minutes} min ${whole % 60} s`;
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
