// What of a file's own name may stand in a path of a bag: its extension, if it is a plain one.

/** `.pdf` of `Report.PDF`, `.gz` of `a.tar.gz`; "" if there is none or it is not 1 to 10 ASCII letters and digits. */
export function safeExtension(filename: string): string {
  return (/[^./\\](\.[a-zA-Z0-9]{1,10})$/.exec(filename)?.[1] ?? "").toLowerCase();
}
