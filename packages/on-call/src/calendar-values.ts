// Dates, local times and time zones as text, and whether they exist: 2026-02-30 has the form of a date and is none.

export function isDate(text: string): boolean {
  return /^\d{4}-\d{2}-\d{2}$/.test(text) && succeeds(() => Temporal.PlainDate.from(text));
}

/** To the minute, and without an offset. */
export function isLocalDateTime(text: string): boolean {
  return /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$/.test(text) && succeeds(() => Temporal.PlainDateTime.from(text));
}

/** An offset such as +01:00, which Temporal takes as well, knows no daylight-saving time. */
export function isTimeZone(text: string): boolean {
  return (
    /^[A-Za-z]/.test(text) &&
    succeeds(() => Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(text))
  );
}

/** `2026-11-30 10:00`, in the zone that it has. */
export const minuteText = (at: Temporal.ZonedDateTime): string =>
  `${at.toPlainDate()} ${at.toPlainTime().toString({ smallestUnit: "minute" })}`;

/** `2026-11-30T10:00`, as a contacts file has it. */
export const localText = (at: Temporal.ZonedDateTime): string =>
  at.toPlainDateTime().toString({ smallestUnit: "minute" });

function succeeds(work: () => unknown): boolean {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}
