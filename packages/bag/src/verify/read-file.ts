// Reads a file of a bag once, from its beginning to its end, with its SHA-256.
import { createHash } from "node:crypto";
import { addAbortSignal } from "node:stream";
import { errorMessage } from "@ectus/core";
import type { BagSource } from "../bag-source.ts";
import { printable } from "../printable.ts";
import type { FaultList } from "./fault-list.ts";

export interface ReadContext {
  readonly source: BagSource;
  readonly faults: FaultList;
  readonly signal: AbortSignal;
  /** Told of bytes as they are read. */
  readonly onBytes: (bytes: number) => void;
}

/** The SHA-256 of a file of which `take` gets every chunk; undefined, with a fault, if it could not be read whole. */
export async function readFile(
  { source, faults, signal, onBytes }: ReadContext,
  path: string,
  take: (chunk: Buffer) => void | Promise<void>,
): Promise<string | undefined> {
  // Before anything is opened, which nobody would close if there were no signal.
  signal.throwIfAborted();
  const hash = createHash("sha256");
  let bytes = 0;
  try {
    for await (const chunk of addAbortSignal(signal, await source.read(path)) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
      onBytes(chunk.length);
      await take(chunk);
    }
  } catch (error) {
    signal.throwIfAborted();
    faults.add("file_unreadable", path, `it cannot be read: ${printable(errorMessage(error))}`);
    return undefined;
  }
  const expected = source.entries.get(path)?.bytes;
  if (bytes === expected) return hash.digest("hex");
  faults.add("file_unreadable", path, `it has ${bytes} bytes and had ${expected} just before`);
  return undefined;
}

export interface TagFile {
  readonly text: string;
  readonly sha256: string;
}

/** A tag file as text; undefined if it is not there, or, with a fault, if it cannot be read or has more than `mostBytes`. */
export async function readTagFile(
  context: ReadContext,
  path: string,
  mostBytes: number,
): Promise<TagFile | undefined> {
  const { source, faults } = context;
  const entry = source.entries.get(path);
  if (entry === undefined) return undefined;
  if (entry.bytes > mostBytes) {
    faults.add("file_unreadable", path, `it has ${entry.bytes} bytes; at most ${mostBytes} are read`);
    return undefined;
  }
  const chunks: Buffer[] = [];
  const sha256 = await readFile(context, path, (chunk) => {
    chunks.push(chunk);
  });
  if (sha256 === undefined) return undefined;
  try {
    return {
      text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks)),
      sha256,
    };
  } catch {
    faults.add("file_unreadable", path, "it is not UTF-8");
    return undefined;
  }
}
