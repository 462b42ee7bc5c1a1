// A time as export.json has it.
import { EctusError } from "@ectus/core";

const years = /^\d{4}-/;

/**
 * RFC 3339, which knows neither infinity nor years beyond four digits.
 *
 * @param time as pg reads it: infinity is a number
 * @throws EctusError `export_incomplete` that names what it is the time of
 */
export function writtenTime(time: Date | number, of: string): string {
  const text = time instanceof Date && !Number.isNaN(time.getTime()) ? time.toISOString() : String(time);
  if (!years.test(text))
    throw new EctusError("export_incomplete", {
      reason: `the time of ${of} is ${text}, which cannot be written`,
    });
  return text;
}
