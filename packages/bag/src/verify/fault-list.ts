// Collects what is wrong with a bag: the first faults as they are, the rest as a number.
import { printable } from "../printable.ts";
import type { BagFault } from "../verify.ts";

/** What each code says, for documents and for programs that read reports. */
export const faultCodes = {
  bagit_invalid: "bagit.txt is not that of BagIt 1.0 in UTF-8",
  bag_info_invalid: "bag-info.txt cannot be read, or counts other files or bytes than there are",
  manifest_invalid: "a line of a manifest cannot be read, or does not belong there",
  document_invalid: "export.json cannot be read, or lacks what its scope has",
  folder_differs: "the bag's folder is named after another export",
  missing_file: "a file is not there that a manifest or export.json lists, or that every bag has",
  unexpected_file: "a file is there that a manifest or export.json does not list",
  file_unreadable: "a file cannot be read, or changed meanwhile",
  size_differs: "a file has another length than export.json says",
  digest_differs: "a file has another SHA-256 than a manifest or export.json says",
  part_damaged: "a part cannot be uncompressed, goes on after its end, or does not end with a whole row",
  header_differs: "the header of a CSV part names other columns than export.json",
  row_invalid: "a row is not JSON, or has other columns than export.json says",
  rows_differ: "a part or a table has another number of rows than export.json says",
  row_digest_differs: "the rows of a part or a table have another digest than export.json says",
  signature_missing: "export.json.sig is not there",
  signature_invalid: "export.json.sig does not fit the bag, or is no signature",
  signature_unknown_key: "the signature fits, but keys were given and it is by none of them",
  more_faults: "there are more faults than are listed",
} as const;

export type FaultCode = keyof typeof faultCodes;

export interface FaultList {
  /** `what` is a sentence that follows the path and a colon, without its period. */
  add(code: FaultCode, path: string, what: string): void;
  readonly count: number;
  /** At most so many, then one that says how many more there are. */
  list(): readonly BagFault[];
}

const mostFaults = 100;

export function createFaultList(most: number = mostFaults): FaultList {
  const faults: BagFault[] = [];
  let count = 0;
  return {
    add(code, path, what) {
      if (++count <= most) faults.push({ code, path, message: `${printable(path)}: ${what}.` });
    },
    get count() {
      return count;
    },
    list: () =>
      count <= most
        ? faults
        : [...faults, { code: "more_faults", message: `There are ${plural(count - most, "more fault")}.` }],
  };
}

/** `1 row`, `42,000 rows`. */
export const plural = (count: number, what: string): string =>
  `${count.toLocaleString("en-US")} ${what}${count === 1 ? "" : "s"}`;

/** `export.json`, `a and b`. */
export const and = (names: readonly string[]): string => names.join(" and ");
