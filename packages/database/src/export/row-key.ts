// Reads the key of a row from its beginning, for the next part to go on after it.
import type { RowFormat } from "@ectus/bag";

// The values of keys are ids, numbers, dates and times: no quotes, no escapes.
const jsonValue = /^(?:"([^"\\]*)"|(-?\d+))(?=[,}])/;
const csvValue = /^"([^"]*)"(?=[,\r\n])/;

/**
 * The first values of a row as texts.
 *
 * @param start the row, or enough of its beginning
 * @param key names of the columns that it begins with
 */
export function readRowKey(start: Buffer, key: readonly string[], format: RowFormat): readonly string[] {
  let rest = start.toString("latin1");
  return key.map((name, index) => {
    const opening = format === "csv" ? (index === 0 ? "" : ",") : `${index === 0 ? "{" : ","}"${name}":`;
    const match = rest.startsWith(opening)
      ? (format === "csv" ? csvValue : jsonValue).exec(rest.slice(opening.length))
      : null;
    const value = match?.[1] ?? match?.[2];
    if (match === null || value === undefined)
      throw new TypeError(`a row does not begin with its key: ${name}`);
    rest = rest.slice(opening.length + match[0].length);
    return value;
  });
}
