// Times as people read them, and as programs do.

/** `Mon 2026-11-30 10:00`, in the zone that it has. */
export const dayAndTime = (at: Temporal.ZonedDateTime): string =>
  `${at.toLocaleString("en-US", { weekday: "short" })} ${at.toPlainDate()} ${timeOfDay(at)}`;

export const timeOfDay = (at: Temporal.ZonedDateTime): string =>
  at.toPlainTime().toString({ smallestUnit: "minute" });

/** RFC 3339 with the offset of its zone. */
export const rfc3339 = (at: Temporal.ZonedDateTime): string =>
  at.toString({ timeZoneName: "never", smallestUnit: "second" });

/** `5 d 8 h`, `8 h 12 min`, `12 min`: how long it is, to the smaller of two units. */
export function lengthText(length: Temporal.Duration): string {
  const minutes = Math.floor(length.total("minutes"));
  const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours} h ${rest} min` : `${rest} min`;
}
