export { bagName } from "./bag-name.ts";
export { type BagSource, openBag } from "./bag-source.ts";
export * from "./export-document.ts";
export { parseManifest } from "./manifest.ts";
export type { ExportHead } from "./render-export-document.ts";
export * from "./row-digest.ts";
export { createRowReader, type RowReader, type RowReaderOptions } from "./row-reader.ts";
export { safeExtension } from "./safe-extension.ts";
export { checkBagSignature, type SignatureCheck, type SignedDigests, signBag } from "./signature.ts";
export {
  createSigningKey,
  type PublicSigningKey,
  publicKeyBytes,
  publicSigningKey,
  type SigningKey,
} from "./signing-key.ts";
export { parseSigningKeys } from "./signing-key-set.ts";
export {
  type PayloadFile,
  type TagFiles,
  type TagFilesOptions,
  writeTagFiles,
} from "./tag-files.ts";
export { layOutTar, type TarEntry, type TarLayout, type TarOptions, type TarPiece } from "./tar.ts";
export { type FaultCode, faultCodes } from "./verify/fault-list.ts";
export { type BagFault, type BagReport, type VerifyOptions, verifyBag } from "./verify.ts";
