// Checks a bag in a folder or tar file, and says what was found.
import { type BagReport, type BagSource, openBag, type PublicSigningKey, verifyBag } from "@ectus/bag";
import { exportIdOf } from "./export-text.ts";
import { facts, printable, table } from "./output.ts";
import { createProgressBar, type ProgressOutput } from "./progress-bar.ts";

export interface BagCheck {
  /** Keys whose signature is believed; without them it cannot be known who signed. */
  readonly keys: readonly PublicSigningKey[];
  readonly signal: AbortSignal;
  readonly output: ProgressOutput;
}

/**
 * Shows how far it is on a terminal only.
 *
 * @throws EctusError `bag_invalid` for what cannot be read as a bag at all
 */
export async function checkBag(path: string, check: BagCheck): Promise<BagReport> {
  await using source = await openBag(path, check.signal);
  return await (check.output.isTTY === true
    ? checkSource(source, check)
    : verifyBag(source, { keys: check.keys, signal: check.signal }));
}

/** Checks one that is open, and shows how far it is. */
export async function checkSource(source: BagSource, { keys, signal, output }: BagCheck): Promise<BagReport> {
  const bar = createProgressBar({ output, label: "Verifying" });
  try {
    return await verifyBag(source, {
      keys,
      signal,
      onProgress: ({ bytesDone, bytes }) => bar.update({ bytes: bytesDone, totalBytes: bytes }),
    });
  } finally {
    bar.end();
  }
}

/**
 * What was checked and what is wrong, for people.
 *
 * @param whose whose the keys are that it was checked with
 */
export function reportText(report: BagReport, whose = "that was given"): string {
  const { document, faults, files, bytes } = report;
  const blocks: string[] = [];
  if (document !== undefined) {
    const { tenant, id, snapshotAt, tables, auditLog } = document;
    blocks.push(
      facts([
        ["tenant", `${tenant.name} (${tenant.id})`],
        ["export", exportIdOf(id)],
        ["as of", snapshotAt],
        ["checked", `${count(files, "file")}, ${count(bytes, "byte")}, ${count(report.rows, "row")}`],
        ["signed by", signerText(report, whose)],
      ]),
    );
    const written = [...tables, ...(auditLog === null ? [] : [auditLog])];
    if (written.length > 0)
      blocks.push(
        table(
          ["TABLE", "ROWS", "DIGEST"],
          written.map(({ name, rows, digest }) => [name, rows.toLocaleString("en-US"), digest]),
        ),
      );
  }
  if (faults.length > 0) blocks.push(faults.map(({ message }) => printable(message)).join("\n"));
  blocks.push(verdict(report, whose));
  return blocks.join("\n\n");
}

function verdict({ ok, faults, signature: { state } }: BagReport, whose: string): string {
  if (!ok && faults.every(({ code }) => code === "signature_unknown_key"))
    return `Nothing is missing and nothing was changed since it was signed, but NOT by a key ${whose}: anybody could have made it.`;
  if (!ok) return "This export is NOT whole and unchanged: see above.";
  if (state === "valid")
    return `Nothing is missing, nothing was changed, and the signature is by a key ${whose}.`;
  return `Nothing is missing and nothing was changed since it was signed. But by whom is not proved: the signature fits the
key that the bag itself names. Compare that key with those of the API that made the export, or give these to --keys:
  curl -s https://…/v1/signing-keys > keys.json`;
}

function signerText({ signature: { state, kid } }: BagReport, whose: string): string {
  const texts = {
    valid: `a key ${whose}`,
    unknown_key: "the key that the bag itself names",
    invalid: "nobody: the signature does not fit",
    missing: "nobody: there is no signature",
  };
  return kid === undefined ? texts[state] : `${texts[state]}, ${kid}`;
}

const count = (value: number, unit: string): string =>
  `${value.toLocaleString("en-US")} ${unit}${value === 1 ? "" : "s"}`;
