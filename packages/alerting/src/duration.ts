// Durations as Prometheus writes them: "5m", "1h30m", "250ms".

const unitsMs: readonly (readonly [unit: string, ms: number])[] = [
  ["y", 365 * 86_400_000],
  ["w", 7 * 86_400_000],
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
  ["ms", 1],
];

const pattern = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?$/;

/** Milliseconds of a duration such as "1h30m"; undefined for what is none. "0" is one, as in Prometheus. */
export function durationMs(text: string): number | undefined {
  if (text === "0") return 0;
  const match = text === "" ? null : pattern.exec(text);
  if (match === null) return undefined;
  return unitsMs.reduce((sum, [, ms], index) => sum + Number(match[index + 1] ?? 0) * ms, 0);
}

/** A duration in the largest unit that has it whole: 90000 is "90s", since "1m30s" takes longer to read. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  const [unit, size] = unitsMs.find(([name, unitMs]) => !"yw".includes(name) && ms % unitMs === 0) ?? [
    "ms",
    1,
  ];
  return `${ms / size}${unit}`;
}

/**
 * A duration divided. Prometheus counts in milliseconds, so the result is rounded to one, and what was longer than
 * nothing stays at least one.
 */
export function divideDuration(ms: number, factor: number): number {
  return ms === 0 ? 0 : Math.max(1, Math.round(ms / factor));
}
