// Writes the tag files of a bag once everything in it is known: what it says of itself, its manifests, export.json and
// the signature, in the order in which each needs the digests of those before it.
import { EctusError } from "@ectus/core";
import { bagDeclaration, renderBagInfo } from "./bag-info.ts";
import type { ExportedFile } from "./export-document.ts";
import { manifestLine } from "./manifest.ts";
import { type ExportHead, renderExportDocument } from "./render-export-document.ts";
import { signBag } from "./signature.ts";
import type { SigningKey } from "./signing-key.ts";

export interface PayloadFile {
  /** Below the bag's folder: `data/…`. */
  readonly path: string;
  readonly bytes: number;
  /** In lower-case hexadecimal. */
  readonly sha256: string;
}

export interface TagFilesOptions {
  readonly head: ExportHead;
  /** Those that export.json names; null if the scope leaves them out. */
  readonly files: AsyncIterable<ExportedFile> | null;
  /** Every file below data/. What is missing here is not in the bag. */
  readonly payload: AsyncIterable<PayloadFile>;
  /** How many there are, and their bytes: bag-info.txt says so before the manifest lists them. */
  readonly payloadFiles: number;
  readonly payloadBytes: number;
  readonly baggedAt: Date;
  readonly key: SigningKey;
  /** Stores a file of the bag, reading its source to the end, and gives what passed. */
  readonly write: (
    path: string,
    source: AsyncIterable<Uint8Array>,
  ) => Promise<{ readonly bytes: number; readonly sha256: string }>;
}

export interface TagFiles {
  /** SHA-256 of tagmanifest-sha256.txt, on which everything in the bag hangs. */
  readonly bagDigest: string;
  /** In the order in which they were written. */
  readonly files: readonly PayloadFile[];
}

/** Names of the tag files, in the order in which they are written. */
export const tagFileNames = [
  "bagit.txt",
  "bag-info.txt",
  "manifest-sha256.txt",
  "export.json",
  "tagmanifest-sha256.txt",
  "export.json.sig",
] as const;

const chunkCharacters = 64 * 1024;

/**
 * Writes all of them. In memory are a few chunks, however many files the bag has.
 *
 * @throws EctusError `export_incomplete` if the payload is not what was counted; what `write` and the lists threw
 */
export async function writeTagFiles(options: TagFilesOptions): Promise<TagFiles> {
  const { head, files, key, baggedAt, payloadFiles, payloadBytes } = options;
  const written: PayloadFile[] = [];
  const write = async (path: (typeof tagFileNames)[number], source: AsyncIterable<Uint8Array>) => {
    const { bytes, sha256 } = await options.write(path, source);
    written.push({ path, bytes, sha256 });
    return sha256;
  };
  await write("bagit.txt", once(bagDeclaration));
  await write(
    "bag-info.txt",
    once(renderBagInfo({ ...head, exportId: head.id, baggedAt, payloadFiles, payloadBytes })),
  );
  await write("manifest-sha256.txt", renderManifest(options));
  const exportJsonSha256 = await write("export.json", renderExportDocument(head, files));
  const tagManifest = written.map(manifestLine).join("");
  const tagManifestSha256 = await write("tagmanifest-sha256.txt", once(tagManifest));
  await write("export.json.sig", once(signBag(key, { tagManifestSha256, exportJsonSha256 })));
  return { bagDigest: tagManifestSha256, files: written };
}

async function* once(text: string): AsyncGenerator<Buffer, void, undefined> {
  if (text !== "") yield Buffer.from(text);
}

async function* renderManifest({
  payload,
  payloadFiles,
  payloadBytes,
}: TagFilesOptions): AsyncGenerator<Buffer, void, undefined> {
  let files = 0;
  let bytes = 0;
  let text = "";
  for await (const file of payload) {
    if (!file.path.startsWith("data/"))
      throw new EctusError("export_incomplete", { reason: `${file.path} is not in the folder data` });
    files++;
    bytes += file.bytes;
    text += manifestLine(file);
    if (text.length < chunkCharacters) continue;
    yield Buffer.from(text);
    text = "";
  }
  if (files !== payloadFiles || bytes !== payloadBytes) {
    throw new EctusError("export_incomplete", {
      reason: `its ${files} files of ${bytes} bytes are not the ${payloadFiles} of ${payloadBytes} that were written`,
    });
  }
  if (text !== "") yield Buffer.from(text);
}
