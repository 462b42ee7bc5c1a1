// Checks what surrounds the payload: declaration, manifests, export.json and the signature, and gives what they say.
import { EctusError } from "@ectus/core";
import { parseElements } from "../bag-info.ts";
import type { ExportDocument } from "../export-document.ts";
import { parseManifest } from "../manifest.ts";
import { parseExportDocument } from "../parse-export-document.ts";
import { printable } from "../printable.ts";
import { checkBagSignature } from "../signature.ts";
import type { PublicSigningKey } from "../signing-key.ts";
import { tagFileNames } from "../tag-files.ts";
import type { BagReport } from "../verify.ts";
import { type ReadContext, readFile, readTagFile, type TagFile } from "./read-file.ts";

/** SHA-256 by path. */
export type Manifest = ReadonlyMap<string, string>;

export interface CheckedTagFiles {
  /** Of the payload; undefined if it could not be read. */
  readonly manifest: Manifest | undefined;
  readonly document: ExportDocument | undefined;
  readonly signature: BagReport["signature"];
}

type TagFileName = (typeof tagFileNames)[number];

// A tag file is held in memory.
/** More than a bag's largest list, of some hundred thousand files, has. */
const mostListBytes = 400 * 1024 * 1024;
/** More than those that list nothing have, by far. */
const mostOtherBytes = 1024 * 1024;
const lists: readonly string[] = ["manifest-sha256.txt", "export.json"] satisfies readonly TagFileName[];

export async function checkTagFiles(
  context: ReadContext,
  keys: readonly PublicSigningKey[],
): Promise<CheckedTagFiles> {
  const { source, faults } = context;
  const files = new Map<TagFileName, TagFile>();
  for (const name of tagFileNames) {
    const file = await readTagFile(context, name, lists.includes(name) ? mostListBytes : mostOtherBytes);
    if (file !== undefined) files.set(name, file);
    else if (!source.entries.has(name) && name !== "export.json.sig")
      faults.add("missing_file", name, "it is missing");
  }
  checkDeclaration(context, files.get("bagit.txt"));
  checkBagInfo(context, files.get("bag-info.txt"));
  const signature = checkSignature(context, files, keys);
  await checkTagManifest(context, files);
  return {
    manifest: readManifest(context, "manifest-sha256.txt", files.get("manifest-sha256.txt")),
    document: readDocument(context, files.get("export.json")),
    signature,
  };
}

function checkDeclaration({ faults }: ReadContext, file: TagFile | undefined): void {
  if (file === undefined) return;
  const [version, encoding, ...others] = parseElements(file.text).elements.map((element) =>
    element.join(": "),
  );
  if (version !== "BagIt-Version: 1.0")
    faults.add("bagit_invalid", "bagit.txt", `its first line is not "BagIt-Version: 1.0"`);
  if (encoding !== "Tag-File-Character-Encoding: UTF-8" || others.length > 0)
    faults.add(
      "bagit_invalid",
      "bagit.txt",
      `its second and last line is not "Tag-File-Character-Encoding: UTF-8"`,
    );
}

function checkBagInfo({ source, faults }: ReadContext, file: TagFile | undefined): void {
  if (file === undefined) return;
  const { elements, faults: wrong } = parseElements(file.text);
  for (const what of wrong) faults.add("bag_info_invalid", "bag-info.txt", what);
  const stated = elements.filter(([label]) => label === "Payload-Oxum").map(([, value]) => value);
  let files = 0;
  let bytes = 0;
  for (const [path, entry] of source.entries) {
    if (!isPayload(path)) continue;
    files++;
    bytes += entry.bytes;
  }
  const found = `${bytes}.${files}`;
  if (stated.length !== 1)
    faults.add("bag_info_invalid", "bag-info.txt", `it has ${stated.length} lines "Payload-Oxum", not one`);
  else if (stated[0] !== found)
    faults.add(
      "bag_info_invalid",
      "bag-info.txt",
      `its Payload-Oxum is ${printable(stated[0] ?? "", 60)} where the bag has ${found}, which are bytes and files`,
    );
}

function checkSignature(
  { faults }: ReadContext,
  files: ReadonlyMap<TagFileName, TagFile>,
  keys: readonly PublicSigningKey[],
): BagReport["signature"] {
  const digests = {
    tagManifestSha256: files.get("tagmanifest-sha256.txt")?.sha256 ?? "",
    exportJsonSha256: files.get("export.json")?.sha256 ?? "",
  };
  const { state, kid, why } = checkBagSignature(files.get("export.json.sig")?.text, digests, keys);
  // Without keys to check with, nobody asked who made the bag.
  if (state !== "valid" && !(state === "unknown_key" && keys.length === 0))
    faults.add(`signature_${state}`, "export.json.sig", why.replace(/\.$/, ""));
  return { state, kid };
}

/** Every tag file but these two has its digest there. */
const notInTagManifest: readonly string[] = ["tagmanifest-sha256.txt", "export.json.sig"];

async function checkTagManifest(
  context: ReadContext,
  files: ReadonlyMap<TagFileName, TagFile>,
): Promise<void> {
  const { source, faults } = context;
  const name = "tagmanifest-sha256.txt";
  const manifest = readManifest(context, name, files.get(name));
  if (manifest === undefined) return;
  for (const [path, sha256] of manifest) {
    if (isPayload(path) || notInTagManifest.includes(path))
      faults.add("manifest_invalid", name, `it lists ${printable(path)}, which does not belong there`);
    else if (source.entries.has(path)) {
      const found = files.get(path as TagFileName)?.sha256 ?? (await readFile(context, path, () => {}));
      if (found !== undefined && found !== sha256)
        faults.add("digest_differs", path, `its SHA-256 is ${found} where ${name} says ${sha256}`);
    } else if (!(tagFileNames as readonly string[]).includes(path))
      faults.add("missing_file", path, `it is missing; ${name} lists it`);
  }
  for (const path of source.entries.keys())
    if (!isPayload(path) && !notInTagManifest.includes(path) && !manifest.has(path))
      faults.add("unexpected_file", path, `${name} does not list it`);
}

function readManifest(
  { faults }: ReadContext,
  name: TagFileName,
  file: TagFile | undefined,
): Manifest | undefined {
  if (file === undefined) return undefined;
  const { entries, faults: wrong } = parseManifest(file.text, name);
  for (const { message } of wrong) faults.add("manifest_invalid", name, message.replace(/\.$/, ""));
  return new Map(entries.map(({ path, sha256 }) => [path, sha256]));
}

function readDocument(
  { source, faults }: ReadContext,
  file: TagFile | undefined,
): ExportDocument | undefined {
  if (file === undefined) return undefined;
  try {
    const document = parseExportDocument(file.text);
    // A folder may be given any name, but not that of another export.
    const named = /-([0-9a-f]{32})$/.exec(source.name)?.[1];
    if (named !== undefined && named !== document.id.replaceAll("-", ""))
      faults.add(
        "folder_differs",
        "export.json",
        `it is of the export ${document.id}, which is not the one that the folder ${printable(source.name)} is named after`,
      );
    return document;
  } catch (error) {
    if (!(error instanceof EctusError)) throw error;
    const reason = String(error.details.reason)
      .replace(/^export\.json: /, "")
      .replace(/\.$/, "");
    faults.add("document_invalid", "export.json", reason);
    return undefined;
  }
}

export const isPayload = (path: string): boolean => path.startsWith("data/");
