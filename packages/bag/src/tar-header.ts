// Headers of tar files, as IEEE Std 1003.1 (pax, "ustar interchange format" and "pax extended header") has them.

/** Headers and contents begin at multiples of it. */
export const tarBlockBytes = 512;

/** Of larger ones the length does not fit into a ustar header. */
export const ustarMostBytes = 8 ** 11 - 1;

/** Zeros that follow contents of so many bytes. */
export function tarPadding(bytes: number): number {
  return (tarBlockBytes - (bytes % tarBlockBytes)) % tarBlockBytes;
}

export interface TarHeader {
  readonly path: string;
  readonly bytes: number;
  /** When it was modified, since 1970. */
  readonly seconds: number;
  /** A file, a folder, or what pax has to say of the next entry. */
  readonly type: "0" | "5" | "x";
}

/** A ustar header. Throws a RangeError if the path or a number does not fit. */
export function tarHeader({ path, bytes, seconds, type }: TarHeader): Buffer {
  const names = ustarNames(path);
  if (names === undefined) throw new RangeError(`${path} does not fit into a tar header`);
  const header = Buffer.alloc(tarBlockBytes);
  header.write(names.name, 0, "latin1");
  header.write(octal(type === "5" ? 0o755 : 0o644, 7), 100, "latin1");
  header.write(octal(0, 7), 108, "latin1");
  header.write(octal(0, 7), 116, "latin1");
  header.write(octal(bytes, 11), 124, "latin1");
  header.write(octal(seconds, 11), 136, "latin1");
  // The checksum is taken as if its own field were blank.
  header.fill(" ", 148, 156);
  header.write(type, 156, "latin1");
  header.write("ustar\u000000", 257, "latin1");
  header.write(octal(0, 7), 329, "latin1");
  header.write(octal(0, 7), 337, "latin1");
  header.write(names.prefix, 345, "latin1");
  header.write(`${octal(tarChecksum(header), 6)}\0`, 148, "latin1");
  return header;
}

/** Sum of a header's bytes, its checksum field taken for blanks. */
export function tarChecksum(header: Uint8Array): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < tarBlockBytes; at++) if (at < 148 || at >= 156) sum += header[at] ?? 0;
  return sum;
}

/**
 * The two fields that a path is written into; undefined if it does not fit: more than 100 bytes that no slash divides
 * into at most 155 and at most 100, or characters that are not ASCII.
 */
export function ustarNames(path: string): { readonly prefix: string; readonly name: string } | undefined {
  if (!/^[\x20-\x7e]*$/.test(path)) return undefined;
  if (path.length <= 100) return { prefix: "", name: path };
  if (path.length > 256) return undefined;
  const slash = path.indexOf("/", path.length - 101);
  if (slash < 1 || slash > 155 || slash === path.length - 1) return undefined;
  return { prefix: path.slice(0, slash), name: path.slice(slash + 1) };
}

/** What a pax header says, one record a keyword: `<length of the record> <keyword>=<value>\n`. */
export function paxRecords(values: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(
    Object.entries(values).map(([keyword, value]) => {
      const rest = Buffer.from(` ${keyword}=${value}\n`);
      // The length counts its own digits.
      let bytes = rest.length + 1;
      while (String(bytes).length + rest.length !== bytes) bytes++;
      return Buffer.concat([Buffer.from(String(bytes)), rest]);
    }),
  );
}

function octal(value: number, digits: number): string {
  const text = value.toString(8).padStart(digits, "0");
  if (!Number.isSafeInteger(value) || value < 0 || text.length > digits)
    throw new RangeError(`${value} does not fit into a tar header`);
  return text;
}
